#include "backends/cpu/cpu.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <map>
#include <new>
#include <vector>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/simd.h"
#include "core/check.h"
#include "core/processors.h"
#include "graph/ops.h"

namespace resnet {
namespace {

using dnnl::memory;

// Layouts from here on are formats that oneDNN chose.
constexpr std::int32_t kFirstFormat = 3;

memory::dims row_major(const memory::dims& dims) {
  memory::dims strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

bool has_avx512() {
  const auto isa = dnnl::get_effective_cpu_isa();
  return static_cast<int>(isa) >= static_cast<int>(dnnl::cpu_isa::avx512_core) &&
         isa != dnnl::cpu_isa::avx2_vnni;
}

[[noreturn]] void refused(const dnnl::error& e, std::string_view layer, std::string_view op) {
  if (e.status == dnnl_out_of_memory) throw std::bad_alloc();
  fail(ErrorCode::kUnsupported, "layer {}: oneDNN refuses this {}: {}", layer, op, e.what());
}

// New threads may begin on the processor of the one that made them, and share it for as long as a
// prediction takes. Each is moved to one of its own, and may move again from there.
void spread_threads(int threads) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  const int here = sched_getcpu();
  std::vector<int> others;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (i != here && CPU_ISSET(i, &allowed)) others.push_back(i);
  }
#pragma omp parallel num_threads(threads)
  {
    const auto i = static_cast<std::size_t>(omp_get_thread_num());
    if (i > 0 && i <= others.size()) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(others[i - 1], &one);
      if (sched_setaffinity(0, sizeof(one), &one) == 0) {
        sched_setaffinity(0, sizeof(allowed), &allowed);
      }
    }
  }
}

using Table = std::map<Op, CpuKernelRow>;

const Table& table() {
  static const Table kTable = [] {
    Table all;
    for (const auto& rows :
         {conv_kernels(), norm_kernels(), pool_kernels(), elementwise_kernels(), linear_kernels(),
          quantized_kernels(), loss_kernels(), shape_kernels(), update_kernels()}) {
      for (const CpuKernelRow& row : rows) RESNET_CHECK(all.emplace(row.op, row).second);
    }
    return all;
  }();
  return kTable;
}

}  // namespace

memory::data_type data_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return memory::data_type::f32;
    case DType::kBF16: return memory::data_type::bf16;
    case DType::kU8: return memory::data_type::u8;
    case DType::kI8: return memory::data_type::s8;
    case DType::kI32: return memory::data_type::s32;
    default: fail(ErrorCode::kUnsupported, "the cpu device has no values of {}", name_of(dtype));
  }
}

CpuTarget::CpuTarget(const CpuOptions& options)
    : options_(options), block_(has_avx512() ? 16 : 8), tuner_(options.kernels) {
  if (!simd::limit_vectors(block_)) {
    fail(ErrorCode::kUnsupported,
         "this build needs AVX-512, which oneDNN may not use here; unset ONEDNN_MAX_CPU_ISA or "
         "build without -march");
  }
  // OpenMP may have bound this thread to one processor; it knows how many there were.
  if (options_.threads <= 0) options_.threads = default_threads(omp_get_num_procs());
  begin_run();
  spread_threads(omp_get_max_threads());
}

void CpuTarget::begin_run() const { omp_set_num_threads(options_.threads); }

memory::desc CpuTarget::describe_memory(const TensorType& type, Layout layout) const {
  if (layout.id >= kFirstFormat) {
    return std::get<memory::desc>(formats_[static_cast<std::size_t>(layout.id - kFirstFormat)]);
  }
  const memory::dims dims(type.shape.begin(), type.shape.end());
  if (layout == kPlainLayout) return {dims, data_type(type.dtype), row_major(dims)};
  if (layout == kChannelsLast) return {dims, data_type(type.dtype), memory::format_tag::nhwc};
  const auto tag = block_ == 16 ? memory::format_tag::nChw16c : memory::format_tag::nChw8c;
  return {dims, data_type(type.dtype), tag};
}

// oneDNN's kernels of bf16 start at AVX-512; where the processor has no instructions for bf16
// itself, they emulate them.
bool CpuTarget::computes(DType dtype) const {
  return dtype == DType::kF32 || (dtype == DType::kBF16 && block_ == 16);
}

bool CpuTarget::supports(Op op, std::size_t i, const TensorType& type) const {
  const auto row = table().find(op);
  if (row == table().end()) return op_info(op).custom != nullptr && takes::f32(i, type);
  return row->second.takes(i, type) && (type.dtype != DType::kBF16 || computes(type.dtype));
}

std::string_view CpuTarget::needs(DType dtype) const {
  return dtype == DType::kBF16 ? "bf16 needs a processor with AVX-512"
                               : "it has kernels for f32 and bf16";
}

template <class T>
const T* CpuTarget::format(Layout layout) const {
  if (layout.id < kFirstFormat) return nullptr;
  return std::get_if<T>(&formats_[static_cast<std::size_t>(layout.id - kFirstFormat)]);
}

std::size_t CpuTarget::bytes(const TensorType& type, Layout layout) const {
  if (layout == kPlainLayout) {
    return static_cast<std::size_t>(element_count(type.shape)) * size_of(type.dtype);
  }
  if (const auto* w = format<WinogradWeights>(layout)) return w->bytes();
  if (const auto* w = format<TurnedWeights>(layout)) return w->desc.get_size();
  return describe_memory(type, layout).get_size();
}

Layout CpuTarget::intern(const Format& format) {
  const auto found = std::find(formats_.begin(), formats_.end(), format);
  if (found == formats_.end()) {
    formats_.push_back(format);
    return {static_cast<std::int32_t>(formats_.size()) - 1 + kFirstFormat};
  }
  return {static_cast<std::int32_t>(found - formats_.begin()) + kFirstFormat};
}

std::string CpuTarget::describe(Layout layout) const {
  if (layout == kPlainLayout) return "plain";
  if (layout == kBlockedLayout) return fmt::format("nChw{}c", block_);
  if (layout == kChannelsLast) return "nhwc";
  if (format<WinogradWeights>(layout) != nullptr) return "winograd";
  if (format<TurnedWeights>(layout) != nullptr) return "turned";
  return fmt::format("format{}", layout.id);
}

KernelChoice CpuTarget::reorder(const TensorType& type, Layout from, Layout to) try {
  begin_run();  // oneDNN shapes a primitive for the number of threads it sees at its creation
  if (const auto* w = format<WinogradWeights>(to)) {
    RESNET_CHECK(from == kPlainLayout);
    return {make_winograd_weights(*w), "own:winograd", {from}, {to}, 0, {}};
  }
  if (const auto* w = format<TurnedWeights>(to)) {
    RESNET_CHECK(from == kPlainLayout);
    return {make_weight_packing(w->desc, true), "own:turned", {from}, {to}, 0, {}};
  }
  if (const auto* desc = format<memory::desc>(to);
      desc != nullptr && from == kPlainLayout && type.dtype == DType::kF32) {
    auto packing = make_weight_packing(*desc, false);
    if (packing != nullptr) return {std::move(packing), "own:packed", {from}, {to}, 0, {}};
  }
  memory::desc source = describe_memory(type, from);
  memory::desc destination = describe_memory(type, to);
  // Grouped weights have five dimensions in oneDNN: [g, o/g, i/g, h, w] is plain [o, i/g, h, w].
  if (source.dims().size() != destination.dims().size()) {
    memory::desc& plain = from == kPlainLayout ? source : destination;
    const memory::dims dims = (from == kPlainLayout ? destination : source).dims();
    plain = memory::desc(dims, data_type(type.dtype), row_major(dims));
  }
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc pd(engine_, source, engine_, destination, attr);
  auto kernel = std::make_unique<DnnlKernel>(*this, dnnl::reorder(pd));
  kernel->bind(DNNL_ARG_FROM, source, DnnlKernel::From::kIn, 0);
  kernel->bind(DNNL_ARG_TO, destination, DnnlKernel::From::kOut, 0);
  kernel->bind(DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc(), DnnlKernel::From::kScratch);
  return {std::move(kernel), pd.impl_info_str(), {from}, {to}, pd.scratchpad_desc().get_size(), {}};
} catch (const dnnl::error& e) {
  refused(e, "a change of layout", "reorder");
}

KernelChoice CpuTarget::choose(const Graph& graph, const Node& node,
                               std::span<const Layout> have) try {
  begin_run();  // as for reorders
  const NodeView v{*this, graph, node, have};
  if (const OpDefinition* custom = op_info(node.op).custom) return make_custom(v, *custom);
  const auto row = table().find(node.op);
  if (row != table().end()) {
    const CpuKernelRow& kernels = row->second;
    const bool integers = kernels.integers != nullptr && takes::is_integer(v.in(0));
    return integers ? kernels.integers(v) : kernels.make(v);
  }
  fail(ErrorCode::kUnsupported, "layer {}: the cpu device has no {}", node.name, name_of(node.op));
} catch (const dnnl::error& e) {
  refused(e, node.name, name_of(node.op));
}

KernelChoice plain_kernel(const NodeView& v, std::unique_ptr<Kernel> kernel,
                          std::size_t scratch_bytes, std::vector<int> in_place) {
  KernelChoice choice{std::move(kernel), "own", {}, {}, scratch_bytes, std::move(in_place)};
  choice.inputs.resize(v.node.inputs.size(), kPlainLayout);
  choice.outputs.resize(v.node.outputs.size(), kPlainLayout);
  return choice;
}

KernelChoice own_kernel(const NodeView& v, std::unique_ptr<Kernel> kernel,
                        std::size_t scratch_bytes, std::vector<int> in_place) {
  KernelChoice choice = plain_kernel(v, std::move(kernel), scratch_bytes, std::move(in_place));
  // All 4-D operands of a node lie alike: positions in max pooling, too.
  const auto is_bf16 = [](const TensorType& t) { return t.dtype == DType::kBF16; };
  bool last = std::ranges::any_of(v.node.outputs, is_bf16);
  for (std::size_t i = 0; i < v.node.inputs.size(); ++i) last = last || is_bf16(v.in(i));
  const Layout activation = activation_layout(last ? DType::kBF16 : DType::kF32);
  const auto layout = [&](const TensorType& t) {
    return t.shape.size() == 4 ? activation : kPlainLayout;
  };
  for (std::size_t i = 0; i < choice.inputs.size(); ++i) choice.inputs[i] = layout(v.in(i));
  for (std::size_t i = 0; i < choice.outputs.size(); ++i) choice.outputs[i] = layout(v.out(i));
  return choice;
}

// oneDNN's memory objects hold the pointers of a run.
struct DnnlKernel::State final : KernelState {
  dnnl::stream stream;
  std::vector<memory> memories;
  std::vector<void*> pointers;
  std::vector<dnnl_exec_arg_t> arguments;

  explicit State(const DnnlKernel& k) : stream(k.engine_), pointers(k.operands_.size(), nullptr) {
    for (const Operand& o : k.operands_) {
      memories.emplace_back(o.desc, k.engine_, nullptr);
      arguments.push_back({o.argument, memories.back().get()});
    }
  }
};

std::unique_ptr<KernelState> DnnlKernel::make_state() const {
  return std::make_unique<State>(*this);
}

void DnnlKernel::run(const KernelArgs& args) const {
  const std::unique_ptr<KernelState> own = args.state == nullptr ? make_state() : nullptr;
  State& s = static_cast<State&>(args.state == nullptr ? *own : *args.state);
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    const Operand& o = operands_[i];
    void* p = o.from == From::kIn    ? args.in[o.index]
              : o.from == From::kOut ? args.out[o.index]
                                     : args.scratch;
    if (p == s.pointers[i]) continue;
    s.memories[i].set_data_handle(p);
    s.pointers[i] = p;
  }
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_.get(), s.stream.get(), static_cast<int>(s.arguments.size()), s.arguments.data());
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  RESNET_CHECK(status == dnnl_success);
}

std::unique_ptr<Target> make_cpu_target(const CpuOptions& options) {
  return std::make_unique<CpuTarget>(options);
}

}  // namespace resnet
