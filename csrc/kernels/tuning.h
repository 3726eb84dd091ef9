/* Tuning: every threshold and block size of the kernels that a measurement decided, in one place.
 *
 * Each has one comment: what it decides, what was measured, and the command that reproduces it. The commands
 * time both sides of the threshold in turns and print the ratio; run them on a machine that does nothing else.
 * `make guard` then shows whether a new value made anything else slower.
 *
 * Not here: the register tiles, which follow from the number of registers (TILE_* in simd/<set>.h), and the
 * constants that fix the order of a sum (TREE_VECTORS, PARTIAL_SUMS, CLASSES_PER_PARTIAL_SUM): they are part of the
 * result. Of those here, only FEW_CLASSES, PANEL_VECTORS and MAX_PANELS change bits, by the order of the sums.
 */
#ifndef FASTSOFTMAX_TUNING_H
#define FASTSOFTMAX_TUNING_H

/* ---- Which step algorithm runs ---- */

/* Up to that many classes a step of dense training is short_rows or panels; above, packed, which loses what is
 * left of the last vector of classes. Measured: packed is a tenth faster at 48, where it loses nothing, and a
 * seventh slower at 40. It also bounds arrays on the stack of both.
 *   python -m benchmarks.tune few_classes */
enum { FEW_CLASSES = 40 };

/* A step by panels has a panel for every PANEL_VECTORS vectors of features, but no more than MAX_PANELS: memory
 * delivers long runs of a row faster than short ones. Measured: 60000 x 784 x 10 on two threads takes a sixth
 * less time than scores by rows with the update by strips.
 *   python -m benchmarks.bench panels   is the epoch; there is no switch at run time: change the value, rebuild */
enum { PANEL_VECTORS = 32, MAX_PANELS = 2 };

/* ---- Prefetching ---- */

/* How many pointers to rows that may come next follow the rows of a kernel, and how far ahead it prefetches short
 * ones. Long rows are prefetched a tile ahead. */
enum { ROWS_AHEAD = 32 };

/* Rows of up to that many bytes are prefetched ROWS_AHEAD rows ahead, into the first level of the cache: they are
 * consumed before memory answers. Longer ones would evict the weights from it; they are prefetched one tile ahead,
 * into the second level. */
enum { MAX_NEAR_PREFETCH_BYTES = 1024 };

/* How many rows ahead convert.h prefetches, at most ROWS_AHEAD. */
enum { CONVERTED_ROWS_AHEAD = 16 };

/* How many sparse rows ahead values and indices are prefetched; the weights that they meet are prefetched one row
 * ahead. */
enum { SPARSE_ROWS_AHEAD = 4 };

/* ---- Blocks ---- */

/* Up to that many classes, LANES rows of logits are transposed for the softmax (softmax_transposed.h); with more, a row
 * fills enough vectors where it lies. */
enum { MAX_TRANSPOSED_CLASSES = 32 };

/* Slabs in the register tile of step_packed.h. A core that does two multiply-adds a cycle does only two loads: one
 * slab takes nine loads for eight of them, two take ten for sixteen. Measured on one core of a Sapphire Rapids, of its
 * peak: scores 75 % and update 86 % with one slab, 100 % and 94 % with two; a Zen 4, which does one multiply-add a
 * cycle, reached 99 % with one. */
enum { SLABS_PER_TILE = 2 };

/* Vectors of classes in a slab of sparse weights, fewer in the last one: they stay in registers while the values of
 * a row pass. */
enum { SPARSE_SLAB_VECTORS = 4 };

/* Vectors of columns whose moments stay in registers for all rows. */
enum { MOMENT_VECTORS = 4 };

/* Rows in a block of moments, over which the tiles of columns take turns: it stays in the cache. Of bytes, in
 * float32, 256 at most: sums of their squares are whole numbers below 2**24, exact in float32. */
enum { MOMENT_ROWS_PER_BLOCK = 32, BYTE_ROWS_PER_BLOCK = 64 };

/* ---- Threads ---- */

/* Pause instructions for which a thread waits before it sleeps, some 20 to 50 microseconds: the next loop of a training
 * step comes sooner, and longer spinning would take the time slice of its partner on a busy machine.
 *   python -m benchmarks.guard   has the ratios of one and two threads, also beside busy processes */
enum { MAX_SPINS = 1000 };

#endif
