import { expect, test } from "vitest"
import { sentenceOfOrt } from "../../src/runtime/platform/ort-errors.ts"

/** Messages as ONNX Runtime 1.30 gave them. */
const said: readonly [string, string][] = [
  [
    "Non-zero status code returned while running Add node. Name:'add' Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.h:563 void onnxruntime::BroadcastIterator::Init(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 5 by 10\n",
    "Node add (Add) of unet failed: Attempting to broadcast an axis by a dimension other than 1. 5 by 10.",
  ],
  [
    "Non-zero status code returned while running MatMul node. Name:'mid.product' Status Message: matmul_helper.h:59 Compute MatMul dimension mismatch",
    "Node mid.product (MatMul) of unet failed: MatMul dimension mismatch.",
  ],
  [
    "Non-zero status code returned while running Concat node. Name:'cat' Status Message: concatbase.h:133 PrepareForComputeImpl Non concat axis dimensions must match: Axis 1 has mismatched dimensions of 3 and 4",
    "Node cat (Concat) of unet failed: Non concat axis dimensions must match: Axis 1 has mismatched dimensions of 3 and 4.",
  ],
  [
    "Non-zero status code returned while running Gather node. Name:'embed' Status Message: indices element out of data bounds, idx=9 must be within the inclusive range [-2,1]",
    "Node embed (Gather) of unet failed: indices element out of data bounds, idx=9 must be within the inclusive range [-2,1].",
  ],
  [
    "Non-zero status code returned while running Expand node. Name:'big' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 6400000000000\n",
    "Node big (Expand) of unet failed: there is no memory for another 5960.5 GiB: ask for a smaller picture or batch, or lowMemory.",
  ],
  [
    'This is an invalid model. In Node, ("sm", Softmax, "", -1) : ("x": tensor(float),) -> ("y": tensor(float),) , Error Unrecognized attribute: axiz for operator Softmax',
    "Node sm (Softmax) of unet is refused: Unrecognized attribute: axiz for operator Softmax.",
  ],
  [
    "Node (mm) Op (MatMul) [ShapeInferenceError] Incompatible dimensions for matrix multiplication",
    "Node mm (MatMul) of unet is refused: Incompatible dimensions for matrix multiplication.",
  ],
  [
    "Could not find an implementation for GroupNorm(1) node with name 'gn'",
    "ONNX Runtime refuses unet: Could not find an implementation for GroupNorm(1) node with name 'gn'.",
  ],
  [
    "/onnxruntime_src/onnxruntime/core/graph/model_load_utils.h:46 void onnxruntime::model_load_utils::ValidateOpsetForDomain(const std::unordered_map<std::__cxx11::basic_string<char>, int>&, const onnxruntime::logging::Logger&, bool, const std::string&, int) ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions.\n",
    "ONNX Runtime refuses unet: ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions.",
  ],
  [
    "/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> adapter_result.status == wgpu::RequestAdapterStatus::Success was false. Failed to get a WebGPU adapter: No supported adapters\n",
    "ONNX Runtime refuses unet: Failed to get a WebGPU adapter: No supported adapters.",
  ],
  [
    "Can't create a session. ERROR_CODE: 6, ERROR_MESSAGE: No Op registered for Foo with domain_version of 21",
    "ONNX Runtime refuses unet: No Op registered for Foo with domain_version of 21.",
  ],
]

test.each(said)("%s", (message, sentence) => {
  expect(sentenceOfOrt(message, "unet")).toBe(sentence)
})
