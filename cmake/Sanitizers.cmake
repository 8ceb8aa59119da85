if(RESNET_SANITIZE)
  add_compile_options(-fsanitize=${RESNET_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${RESNET_SANITIZE})
endif()
