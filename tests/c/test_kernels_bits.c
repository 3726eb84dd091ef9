/* Prints a hash of what every kernel returns and writes, for each instruction set that this CPU can run:
 *
 *   avx512 float32 softmax 6c62272e07bb0142
 *
 * The inputs come from integers and no library function has a part in them. So the hashes of two builds
 * differ only where the kernels do, whatever the compilers and the CPUs; tests/c/check_platforms compares such
 * builds. With an argument, one line is printed for every case: the first that differs is the one to look at.
 *
 * Every array ends at a page that may not be touched: a kernel that goes one element too far crashes. With
 * MEMCHECK defined it is for valgrind: outputs count as not written until a kernel writes them, and must not
 * come of what has not been.
 */
#include "kernels_bits/inputs.h"
#include "kernels_bits/rows.h"
#include "kernels_bits/dense.h"
#include "kernels_bits/steps.h"
#include "kernels_bits/sparse.h"

/* Each has a function of one of the two kinds of shapes. */
static const struct {
    const char *name;
    void (*of_rows)(size_t, size_t, size_t);
    void (*of_shape)(const struct shape *);
} TESTS[] = {
    {"softmax", softmax_case, NULL},
    {"log_softmax", log_softmax_case, NULL},
    {"logsumexp", logsumexp_case, NULL},
    {"cross_entropy_of_labels", cross_entropy_of_labels_case, NULL},
    {"cross_entropy_of_probabilities", cross_entropy_of_probabilities_case, NULL},
    {"logit_options", logit_options_case, NULL},
    {"pack", NULL, pack_case},
    {"scores", NULL, scores_case},
    {"outer_sum", NULL, outer_sum_case},
    {"packed", NULL, packed_case},
    {"sum_over_rows", NULL, sum_over_rows_case},
    {"panels", NULL, panels_case},
    {"short_rows", NULL, short_rows_case},
    {"convert", NULL, convert_case},
    {"column_sums", NULL, column_sums_case},
    {"penalty", NULL, penalty_case},
    {"sparse", NULL, sparse_case},
    {"two_classes", NULL, two_classes_case},
};

static void test_table(const char *set_name, const char *type_name, const struct kernels *table) {
    char name[100];
    kernels = table;
    for (size_t i = 0; i < LENGTH(TESTS); ++i) {
        snprintf(name, sizeof name, "%s %s %s", set_name, type_name, TESTS[i].name);
        kernel_name = name;
        state = i; /* the same inputs whatever was tested before */
        hash = 0xcbf29ce484222325u;
        if (TESTS[i].of_rows) for_row_shapes(TESTS[i].of_rows);
        if (TESTS[i].of_shape) for_shapes(TESTS[i].of_shape);
        printf("%s %016llx\n", name, (unsigned long long)hash);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    prints_cases = argc > 1;
    setvbuf(stdout, NULL, _IONBF,
            0); /* for the last line before a crash; Windows buffers no lines */
    make_slots();
    for (const struct instruction_set *set = instruction_sets; set->name; ++set) {
        if (!set->is_supported()) continue;
        test_table(set->name, "float32", set->float32);
        test_table(set->name, "float64", set->float64);
    }
    return 0;
}
