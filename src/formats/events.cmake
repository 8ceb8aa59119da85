# resnet_events(<target>): the C++ of events.proto, generated and compiled into the target.
function(resnet_events target)
  set(proto ${PROJECT_SOURCE_DIR}/src/formats/events.proto)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/proto)
  file(MAKE_DIRECTORY ${out})
  add_custom_command(
    OUTPUT ${out}/events.pb.cc ${out}/events.pb.h
    COMMAND protobuf::protoc --cpp_out=${out} --proto_path=${PROJECT_SOURCE_DIR}/src/formats ${proto}
    DEPENDS ${proto} protobuf::protoc
    VERBATIM)
  set_source_files_properties(${out}/events.pb.cc PROPERTIES COMPILE_OPTIONS -w SKIP_LINTING ON)
  target_sources(${target} PRIVATE ${out}/events.pb.cc ${out}/events.pb.h)
  target_include_directories(${target} SYSTEM PRIVATE ${out})
endfunction()
