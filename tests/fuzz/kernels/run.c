/* Targets of libFuzzer for the kernels: bytes choose the type, the function, shapes, strides, options and
 * numbers, the extreme ones among them. tests/fuzz/fuzz.py links this with the cases of one file beside it and with
 * kernels under the sanitizers of addresses and of undefined behaviour.
 *
 * Every array is an allocation of its own, of exactly its size, and so is every row. What is held to:
 *   - nothing beside the outputs is touched: inputs stay as they are, and so does what pads the outputs;
 *   - what was in the outputs before does not matter: a second run on other contents has the same bits;
 *   - AVX2 and AVX-512 have the same bits;
 *   - a row without a softmax is reported, any other has losses and gradients near those of long double;
 *   - products and sums of moderate numbers are near those of long double.
 */
#include "case.h"

static struct results results[5];

/* The same input in every run: the choices start again. */
static void run(void (*test)(void), struct results *into, double before, int checked) {
    recorded = into;
    recorded->n = 0;
    stale_value = before;
    is_moderate = 1;
    is_checked = checked;
    at_byte = 2;
    test();
    free_arrays();
}

static void compare(const struct results *a, const struct results *b, const char *what) {
    if (a->n != b->n) fail("another number of results", b->n);
    for (size_t i = 0; i < a->n; ++i) {
        if (same_bits(a->values[i], b->values[i])) continue;
        fprintf(stderr, "%.17g against %.17g\n", a->values[i], b->values[i]);
        fail(what, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    bytes = data;
    n_bytes = n;
    at_byte = 0;
    size_t kind = below(256);
    void (*test)(void) = CASES[below(256) % N_CASES];
    const struct results *with_fma = NULL;
    size_t i = 0;
    for (const struct instruction_set *set = instruction_sets; set->name; ++set, ++i) {
        if (!set->is_supported()) continue;
        set_name = set->name;
        kernels = kind & 1 ? set->float32 : set->float64;
        int is_chosen = (kind >> 1) % 3 == i % 3;
        run(test, results + i, -77, is_chosen);
        if (is_chosen) { /* twice */
            run(test, results + LENGTH(results) - 1, (double)NAN, 0);
            compare(results + i, results + LENGTH(results) - 1, "what was there before matters");
        }
        if (set[1].name == NULL) break; /* portable C has bits of its own */
        if (with_fma) compare(with_fma, results + i, "instruction sets differ");
        with_fma = results + i;
    }
    return 0;
}
