# Warnings for our own code.
add_library(resnet_warnings INTERFACE)
target_compile_options(resnet_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  # GCC 12 sees ghosts in string concatenation (bug 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(RESNET_WERROR)
  target_compile_options(resnet_warnings INTERFACE -Werror)
endif()
