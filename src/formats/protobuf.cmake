# resnet_protobuf(<target>): the C++ of the .proto files here, generated and compiled into the target.
function(resnet_protobuf target)
  set(folder ${PROJECT_SOURCE_DIR}/src/formats)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/proto)
  file(MAKE_DIRECTORY ${out})
  foreach(name events onnx)
    add_custom_command(
      OUTPUT ${out}/${name}.pb.cc ${out}/${name}.pb.h
      COMMAND protobuf::protoc --cpp_out=${out} --proto_path=${folder} ${folder}/${name}.proto
      DEPENDS ${folder}/${name}.proto protobuf::protoc
      VERBATIM)
    set_source_files_properties(${out}/${name}.pb.cc PROPERTIES COMPILE_OPTIONS -w SKIP_LINTING ON)
    target_sources(${target} PRIVATE ${out}/${name}.pb.cc ${out}/${name}.pb.h)
  endforeach()
  target_include_directories(${target} SYSTEM PRIVATE ${out})
endfunction()
