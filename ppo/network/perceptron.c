/* A small perceptron for a few observations: what numpy does in a dozen calls of a microsecond each, in one. */

#include <math.h>
#include <stdint.h>

enum { LINEAR, TANH, RELU };

typedef struct {
    const float *weight, *bias; /* [inputs, outputs], [outputs] */
    int64_t inputs, outputs;
    int64_t activation; /* after it */
} Layer;

/* tanh(x) = 1 - 2 / (1 + exp(2 x)), right to 1e-7: the exponential by Cody and Waite's reduction to |r| <= ln(2) / 2 and its
   Taylor series there. Without branches and calls, so that the compiler makes vectors of it. */
static inline float tanh_(float x)
{
    float y = 2.0f * x;
    y = y < -60.0f ? -60.0f : y > 60.0f ? 60.0f : y; /* a NaN stays one */
    float n = (y * 1.44269504f + 12582912.0f) - 12582912.0f; /* rounded: 1.5 * 2^23 has no room for a fraction */
    float r = (y - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.0f + r * (1.0f + r * (0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    union { int32_t bits; float value; } scale = {.bits = ((int32_t)n + 127) << 23};
    return 1.0f - 2.0f / (1.0f + p * scale.value);
}

static void layer(const Layer *l, const float *restrict x, float *restrict y)
{
    const float *restrict w = l->weight;
    for (int64_t j = 0; j < l->outputs; j++) y[j] = l->bias[j];
    for (int64_t i = 0; i < l->inputs; i++, w += l->outputs)
        for (int64_t j = 0; j < l->outputs; j++) y[j] += x[i] * w[j];
    if (l->activation == TANH)
        for (int64_t j = 0; j < l->outputs; j++) y[j] = tanh_(y[j]);
    else if (l->activation == RELU)
        for (int64_t j = 0; j < l->outputs; j++) y[j] = y[j] < 0.0f ? 0.0f : y[j];
}

/* Of obs [rows, width]: (obs - mean) / std within +-clip, of it the `columns` that the first layer sees, through all layers.
   What goes into the last one is features [rows, ...], what it gives out [rows, ...]; `work` has room for two times the
   widest. */
void perceptron(const double *obs, int64_t rows, int64_t width, const double *mean, const double *std, double clip,
                const int64_t *columns, const Layer *layers, int64_t count, int64_t widest, float *work, float *features,
                float *out)
{
    for (int64_t r = 0; r < rows; r++, obs += width) {
        float *x = work, *y = work + widest;
        for (int64_t i = 0; i < layers[0].inputs; i++) {
            int64_t c = columns[i];
            double z = (obs[c] - mean[c]) / std[c];
            x[i] = (float)(z < -clip ? -clip : z > clip ? clip : z);
        }
        for (int64_t k = 0; k < count - 1; k++) {
            layer(&layers[k], x, y);
            float *other = x;
            x = y, y = other;
        }
        const Layer *last = &layers[count - 1];
        for (int64_t i = 0; i < last->inputs; i++) features[i] = x[i];
        layer(last, features, out);
        features += last->inputs, out += last->outputs;
    }
}
