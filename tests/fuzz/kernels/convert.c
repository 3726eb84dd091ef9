/* Numbers of other types into those of the kernels, and their moments. */
#include "case.h"

static size_t size_of(enum input_dtype number) {
    return (size_t[]){1, 2, 4, kernels->element_size}[number];
}

static void *any_numbers(size_t n, enum input_dtype number) {
    uint8_t *array = allocate(n * size_of(number));
    state = below(256);
    if (number == INPUT_REAL) {
        fill(array, n);
    } else if (number == INPUT_FLOAT32 && below(2)) {
        for (size_t i = 0; i < n; ++i) {
            float x = (float)uniform();
            memcpy(array + i * sizeof x, &x, sizeof x);
        }
    } else {
        for (size_t i = 0; i < n * size_of(number); ++i) array[i] = (uint8_t)next();
    }
    return fixed(array);
}

static double of_half(uint16_t bits) {
    int exponent = bits >> 10 & 31, sign = bits >> 15 ? -1 : 1;
    double mantissa = bits & 1023;
    if (exponent == 31) return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static double number_at(const void *array, size_t i, enum input_dtype number) {
    const char *place = (const char *)array + i * size_of(number);
    if (number == INPUT_UINT8) return *(const uint8_t *)place;
    if (number == INPUT_REAL) return get(place, 0);
    uint16_t half;
    float single;
    memcpy(number == INPUT_FLOAT16 ? (void *)&half : (void *)&single, place, size_of(number));
    return number == INPUT_FLOAT16 ? of_half(half) : (double)single;
}

static void convert_case(void) {
    function_name = "convert";
    size_t n = 1 + below(20), d = 1 + below(80), lanes = kernels->lanes;
    enum input_dtype number = (enum input_dtype)below(4);
    size_t first = below(2) && d > lanes ? lanes : 0, stride = whole_vectors(d);
    const void **rows = allocate((n + ROWS_AHEAD) * sizeof *rows);
    const void *byte = allocate(1);
    for (size_t i = 0; i < n + ROWS_AHEAD; ++i) rows[i] = i < n ? any_numbers(d, number) : byte;
    const void *mean = below(2) ? fixed(numbers(d)) : NULL,
               *scale = below(2) ? fixed(numbers(d)) : NULL;
    struct scaling_view scaling = {mean, scale};
    void *out = stale(n * stride);
    kernels->input->convert((const void *const *)rows, n, number, first, d - first, &scaling, out,
                            stride);
    for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < stride; ++j) {
            double x = get(out, i * stride + j);
            if (j < first) {
                check_stale(x, j);
                continue;
            }
            double expected = 0;
            if (j < d) {
                char one[sizeof(double)]; /* each operation rounded in the type */
                put(one, 0, number_at(rows[i], j, number));
                if (mean) put(one, 0, get(one, 0) - get(mean, j));
                if (scale) put(one, 0, get(one, 0) * get(scale, j));
                expected = get(one, 0);
                if (!same_bits(x, expected)) fail("is another number", j);
            } else if (x != 0 && !mean && !scale) {
                fail("the padding is not 0", j);
            }
            record(x);
        }
    }
}

static void moments_case(void) {
    function_name = "moments";
    size_t n = 1 + below(200), d = 1 + below(80);
    enum input_dtype number = kernels->element_size == sizeof(float) ? INPUT_UINT8
                                                                     : (enum input_dtype)below(4);
    size_t size = size_of(number), stride = d + below(3);
    is_moderate &= number == INPUT_UINT8;
    const char *rows = any_numbers((n - 1) * stride + d, number);
    double *sums = allocate(d * sizeof *sums), *squares = allocate(d * sizeof *squares);
    double *origin = allocate(d * sizeof *origin);
    for (size_t j = 0; j < d; ++j) {
        sums[j] = squares[j] = 0;
        origin[j] = number_at(rows, j, number);
    }
    fixed(origin);
    kernels->input->moments(rows, stride * size, n, d, number, origin, sums, squares);
    for (size_t j = 0; j < d && number == INPUT_UINT8; ++j) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < n; ++i) {
            double x = number_at(rows, i * stride + j, number) - origin[j];
            sum += x;
            square += x * x;
        }
        if (sums[j] != sum || squares[j] != square) fail("whole numbers have another sum", j);
    }
    record_doubles(sums, d);
    record_doubles(squares, d);
}

void (*const CASES[])(void) = {convert_case, moments_case};
const size_t N_CASES = LENGTH(CASES);
