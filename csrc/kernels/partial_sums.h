/* Sums in double, of numbers of either type, in an order that depends on nothing but their places. */
#ifndef FASTSOFTMAX_PARTIAL_SUMS_H
#define FASTSOFTMAX_PARTIAL_SUMS_H

/* Number of partial sums, in double, that a row is added to: element i goes to sum i % PARTIAL_SUMS. */
enum { PARTIAL_SUMS = 8 };

/* Return the sum of the partial sums, as a tree. */
static inline double fold_partial_sums(const double *sums) {
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

#endif
