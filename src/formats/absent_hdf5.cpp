#include "core/absent.h"
#include "formats/hdf5.h"
#include "formats/hdf5_headers.h"

namespace resnet {

Hdf5File::Hdf5File(const std::filesystem::path& path) {
  absent(path.string(), "reads no HDF5", "RESNET_HDF5");
}
Hdf5File::~Hdf5File() = default;

// There is no file to call these on.
bool Hdf5File::has(const std::string& /*name*/) const { return false; }
Tensor Hdf5File::read_integers(const std::string& name, std::int64_t /*max_elements*/) const {
  absent(name, "reads no HDF5", "RESNET_HDF5");
}

Hdf5Rows::Hdf5Rows(const Hdf5File& file, const std::string& /*name*/) {
  absent(file.name(), "reads no HDF5", "RESNET_HDF5");
}
Hdf5Rows::~Hdf5Rows() = default;
void Hdf5Rows::read(std::int64_t /*first*/, std::int64_t /*count*/,
                    std::span<std::byte> /*out*/) const {}

}  // namespace resnet
