# Warnings for our own code.
add_library(resnet_warnings INTERFACE)
target_compile_options(resnet_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor)
if(RESNET_WERROR)
  target_compile_options(resnet_warnings INTERFACE -Werror)
endif()
