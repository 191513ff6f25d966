// Every family's algorithm, compiled once an instruction set. A file of base/isa/ defines its primitives in an
// anonymous namespace, includes this, and so exports one function only. Nothing here may use the standard library:
// its inline functions would be compiled with this set's flags and shared with the rest of the program.

#include "kernels/conv/walk.inl"
#include "kernels/epilogue/sigmoid.inl"
#include "kernels/epilogue/epilogue.inl"
#include "kernels/epilogue/fixed.inl"
#include "kernels/conv/tile.inl"
#include "kernels/binary_conv/binary_conv.inl"
#include "kernels/float_conv/float_conv.inl"
#include "kernels/sparse_linear/sparse_linear.inl"
#include "kernels/codebook_linear/codebook_linear.inl"
#include "kernels/int8_conv/int8_conv.inl"
#include "kernels/pool/pool.inl"
#include "kernels/copy/copy.inl"
#include "kernels/bits/bits.inl"
#include "kernels/fixed/fixed.inl"
#include "kernels/mean/mean.inl"
#include "kernels/normalize/normalize.inl"
#include "kernels/detect/detect.inl"
#include "kernels/transform/transform.inl"
#include "kernels/embedding_bag/embedding_bag.inl"

namespace {
constexpr netsuke::Kernels kKernels = {kIsa,         L,             kWidest,         kHasTiles,   kCodeOffset, kNarrow,
                                       binary_conv,  float_conv,    sparse_linear,   codebook_linear,
                                       int8_conv,    pool,          copy,            bits,        fixed_pool,
                                       fixed_copy,   mean,          normalize,       detect_boxes, overlaps_any, transform_u8,    transform_f32, embedding_bag,
                                       binary_loop,  float_loop,    int8_loop};
}
