# Everything linked in one build carries the same sanitizers. A finding ends the program.
if(RESNET_SANITIZE)
  add_compile_options(-fsanitize=${RESNET_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${RESNET_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The added checks make GCC 12 see uninitialised members in std::regex and std::function.
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
endif()
