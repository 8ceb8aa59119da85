# Everything linked in one build carries the same sanitizers. A finding ends the program.
if(RESNET_SANITIZE)
  add_compile_options(-fsanitize=${RESNET_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${RESNET_SANITIZE})
endif()
