"""The ways in which PostOpPredictor refuses to go on, each with a code that machines read and a sentence for people."""

from __future__ import annotations


class PostOpError(Exception):
    """Base of every error of ours; ``str(error)`` is a whole sentence that says what was wrong and what to do."""

    code = "internal"
    exit_code = 1


class InputError(PostOpError):
    """The user's files or options are not usable as they are; the user can mend it."""

    code = "bad_input"
    exit_code = 2


class RegistrationFailed(InputError):
    """The volume could not be aligned to MNI space well enough to be trusted."""

    code = "registration_failed"


class LibraryError(InputError):
    """The case library is missing, empty, or a case of it is broken."""

    code = "bad_library"


class ModelMissing(InputError):
    """No model folder where one was asked for, or its weights are incomplete."""

    code = "no_weights"


class ModelTampered(InputError):
    """The weights are not the ones that the model's checksums name."""

    code = "bad_weights"


class StorageError(PostOpError):
    """The disk is full or the folder cannot be written; nothing half-written was left."""

    code = "storage"
    exit_code = 2


class OutOfMemory(PostOpError):
    """The device has too little memory for the settings."""

    code = "oom"
    exit_code = 2


class Cancelled(PostOpError):
    """The user cancelled; nothing was written."""

    code = "cancelled"
    exit_code = 130
