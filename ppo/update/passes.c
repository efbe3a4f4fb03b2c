/* One pass over the minibatches: a library that PyTorch compiled ahead of time (the gradient step), called again and again.

   Of PyTorch only the C interface of such libraries is used, by pointers that Python hands over: no headers are needed, and
   none of its C++ types appears here. Every function of it returns 0 where all went well. */

#include <stdint.h>
#include <string.h>

typedef void *Handle; /* a tensor */

typedef struct {
    int32_t (*run)(void *container, Handle *in, int64_t ins, Handle *out, int64_t outs, void *stream, void *proxy);
    int32_t (*wrap)(void *data, int64_t axes, const int64_t *sizes, const int64_t *strides, int64_t offset, int32_t dtype,
                    int32_t device, int32_t index, Handle *made);
    int32_t (*data_of)(Handle, void **data);
    int32_t (*drop)(Handle);
} Torch;

typedef struct { /* an argument of the step, and where it is */
    char *data;
    int64_t axes;
    const int64_t *sizes, *strides;
    int32_t dtype;
    int64_t jump; /* bytes from one minibatch to the next; 0: the same for all */
    int64_t bytes;
} Argument;

enum { STEP_FAILED = -1, TORCH_FAILED = -2 };

/* Take up to `steps` steps. The first `carried` arguments are what a step gives back first, in this order; after those it
   gives its row of `row_bytes`, which goes to `rows`. Where `leave` is set, the pass ends with the step whose output
   number `stopped` is not 0. The carried ones of the last step are copied to `last`. Returns the number of steps. */
int64_t pass(const Torch *torch, void *container, const Argument *arguments, int64_t count, int64_t carried,
             int64_t steps, char *rows, int64_t row_bytes, int64_t stopped, int32_t leave, char *const *last)
{
    Handle in[count], out[carried + 1];
    void *data;
    int64_t done = 0;
    for (int64_t k = 0; k < steps; k++) {
        for (int64_t i = 0; i < count; i++) {
            if (k > 0 && i < carried) {
                in[i] = out[i]; /* a step owns what it is given, and lets go of it */
                continue;
            }
            const Argument *a = &arguments[i];
            if (torch->wrap(a->data + k * a->jump, a->axes, a->sizes, a->strides, 0, a->dtype, 0, 0, &in[i]))
                return TORCH_FAILED;
        }
        if (torch->run(container, in, count, out, carried + 1, 0, 0)) return STEP_FAILED;
        if (torch->data_of(out[carried], &data)) return TORCH_FAILED;
        memcpy(rows + k * row_bytes, data, row_bytes);
        if (torch->drop(out[carried])) return TORCH_FAILED;
        done++;
        if (torch->data_of(out[stopped], &data)) return TORCH_FAILED;
        if (leave && *(int64_t *)data != 0) break;
    }
    for (int64_t i = 0; i < carried && done; i++) {
        if (torch->data_of(out[i], &data)) return TORCH_FAILED;
        memcpy(last[i], data, arguments[i].bytes);
        if (torch->drop(out[i])) return TORCH_FAILED;
    }
    return done;
}
