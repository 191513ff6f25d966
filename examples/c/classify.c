/* Classifies one image with a .netsuke file, in C. From the folder of the repository:
 *
 *   make setup
 *   cc -O2 -I csrc/include examples/c/classify.c build/cp3*64/libnetsuke_engine.a -lstdc++ -lpthread -lm -o classify
 *   ./classify r20.netsuke image.ppm
 *
 * The image is a binary PPM (P6, 8 bits), as `convert image.png -resize '32x32!' image.ppm` writes it, of exactly the
 * size the network takes. */
#include <stdio.h>
#include <stdlib.h>

#include "netsuke.h"

static int fail(const char* what) {
  fprintf(stderr, "error: %s\n", what);
  return 2;
}

/* Reads a PPM of the given size into planes; NULL if it is none. */
static unsigned char* read_ppm(const char* path, int width, int height) {
  FILE* file = fopen(path, "rb");
  int w, h, most;
  size_t pixels = (size_t)width * (size_t)height;
  unsigned char *packed = malloc(3 * pixels), *planes = malloc(3 * pixels);
  int ok = file && packed && planes && fscanf(file, "P6 %d %d %d", &w, &h, &most) == 3 && w == width && h == height &&
           most == 255 && fgetc(file) != EOF && fread(packed, 3, pixels, file) == pixels;
  if (ok)
    for (size_t i = 0; i < pixels; ++i)
      for (size_t c = 0; c < 3; ++c) planes[c * pixels + i] = packed[3 * i + c];
  if (file) fclose(file);
  free(packed);
  if (ok) return planes;
  free(planes);
  return NULL;
}

int main(int argc, char** argv) {
  char error[256];
  if (argc != 3) return fail("usage: classify FILE.netsuke IMAGE.ppm");
  netsuke_model* model = netsuke_load(argv[1], 1, NULL, error, sizeof error);
  if (!model) return fail(error);

  const netsuke_info info = netsuke_describe(model);
  const netsuke_shape shape = netsuke_output_shape(model, 0);
  const int classes = shape.channels * shape.height * shape.width;
  if (info.channels != 3 || !info.takes_uint8 || info.outputs != 1)
    return fail("this network takes no 8-bit RGB images, or has several outputs");
  unsigned char* image = read_ppm(argv[2], info.width, info.height);
  if (!image) return fail("the image is no 8-bit binary PPM of the network's size");

  float* logits = malloc(sizeof(float) * (size_t)classes);
  if (!logits || netsuke_run(model, image, NETSUKE_UINT8, 1, &logits, error, sizeof error)) return fail(error);
  int best = 0;
  for (int i = 1; i < classes; ++i)
    if (logits[i] > logits[best]) best = i;
  printf("%s on %s: class %d, logit %.4f\n", info.model, info.isa, best, logits[best]);

  free(logits);
  free(image);
  netsuke_free(model);
  return 0;
}
