/* The whole public C interface of the engine: load a .netsuke file, describe it, run it, free it.
 *
 * No exception crosses it. A function that can fail takes `error`, room for a message of `error_size` bytes (it is cut
 * to fit, and always ended by a zero), or NULL. One model may be used by one thread at a time; it splits the work of
 * one image over as many threads as it was loaded with. */
#ifndef NETSUKE_H
#define NETSUKE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct netsuke_model netsuke_model;

typedef enum { NETSUKE_FLOAT32 = 0, NETSUKE_UINT8 = 1 } netsuke_type;

typedef struct {
  const char* model;            /* its name; lives as long as the model */
  const char* isa;              /* the instruction set that runs */
  int threads;
  int channels, height, width;  /* of one input image */
  int takes_uint8;              /* whether the file holds the normalisation of 8-bit images */
  int resize, crop;             /* how an image reader should cut: shorter side, centre crop; 0 for none */
  int outputs;
} netsuke_info;

typedef struct {
  int channels, height, width;
} netsuke_shape;

/* NULL on failure. threads >= 1. isa: "scalar", "avx2", ... or NULL to let NETSUKE_ISA or the machine decide. */
netsuke_model* netsuke_load(const char* path, int threads, const char* isa, char* error, size_t error_size);
netsuke_model* netsuke_load_bytes(const void* data, size_t size, int threads, const char* isa, char* error,
                                  size_t error_size);

netsuke_info netsuke_describe(const netsuke_model* model);

/* Shape of output `index` for one image; all zeros if there is no such output. */
netsuke_shape netsuke_output_shape(const netsuke_model* model, int index);

/* Runs `count` images, planes (channels, height, width) one after another: uint8 as read, channels in RGB order, or
 * float32, normalised already. outputs[k] has room for count maps of output k, planes likewise. Returns 0, or -1 on
 * failure. */
int netsuke_run(netsuke_model* model, const void* images, netsuke_type type, size_t count, float* const* outputs,
                char* error, size_t error_size);

void netsuke_free(netsuke_model* model);

#ifdef __cplusplus
}
#endif

#endif
