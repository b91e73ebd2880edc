# Stand-in for Slicer's file that lets other extensions depend on this one; a scripted extension offers nothing to link.
if("${EXTENSION_NAME}" STREQUAL "")
  message(FATAL_ERROR "EXTENSION_NAME is not set: include(\${Slicer_USE_FILE}) first")
endif()
