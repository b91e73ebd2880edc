# Stand-in for CTK's ctkMacroCompilePythonScript: copies scripts and resources into the build tree under their relative
# paths and installs that folder. CTK does it when the extension is built, here it is done while CMake configures; byte
# code is left out.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(needed TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if("${MY_${needed}}" STREQUAL "")
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${needed} is missing or empty")
    endif()
  endforeach()
  if(TARGET Copy${MY_TARGET_NAME}PythonFiles)
    message(FATAL_ERROR "There are two modules called ${MY_TARGET_NAME}")
  endif()
  add_custom_target(Copy${MY_TARGET_NAME}PythonFiles)

  foreach(file IN LISTS MY_SCRIPTS)
    if(NOT file MATCHES "\\.py$")
      set(file "${file}.py")
    endif()
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${MY_DESTINATION_DIR}/${file}" COPYONLY)
  endforeach()
  foreach(file IN LISTS MY_RESOURCES)
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${MY_DESTINATION_DIR}/${file}" COPYONLY)
  endforeach()

  # With a trailing slash CMake installs what is in the folder, without it the folder.
  set(installed "${MY_DESTINATION_DIR}")
  if(MY_NO_INSTALL_SUBDIR)
    string(APPEND installed "/")
  endif()
  install(DIRECTORY "${installed}" DESTINATION "${MY_INSTALL_DIR}" COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)
endfunction()
