/* Tuning: every threshold and block size of the kernels that a measurement decided, in one place.
 *
 * Each has one comment: what it decides, what was measured, and the command that reproduces it.
 * benchmarks/tune.py builds a copy of the tree with another value, and epochs with and without it take turns: above 1,
 * its ratio says that the value here is the better one, for that shape (samples, features, classes, minibatch).
 * Measure on a machine that does nothing else; `make guard` then shows whether a new value costs anything elsewhere. What no
 * epoch shows, a suite does: `python -m pytest benchmarks/bench_loss.py --benchmark-autosave` with one value, and the same
 * with --benchmark-compare with the other one.
 *
 * Not here: the register tiles, which follow from the number of registers (TILE_* in simd/<set>.h), and the constants
 * that fix the order of a sum (TREE_VECTORS, PARTIAL_SUMS, CLASSES_PER_PARTIAL_SUM). Of those here FEW_CLASSES,
 * PANEL_VECTORS and MAX_PANELS change the order of sums as well, and so the last bits of a trained model.
 */
#ifndef FASTSOFTMAX_TUNING_H
#define FASTSOFTMAX_TUNING_H

/* ---- Which step algorithm runs ---- */

/* Up to that many classes, a step of dense training is short_rows or panels; above, packed, which wastes what is left of
 * the last vector of classes. It also bounds arrays on the stack of the first two. Measured: packed takes a tenth less
 * time at 48 classes, where it wastes nothing, and a seventh more at 40.
 *   python -m benchmarks.tune FASTSOFTMAX_STEP=packed --shape 20000 784 40 128
 *   python -m benchmarks.tune FEW_CLASSES=48 --shape 20000 784 48 128 */
enum { FEW_CLASSES = 40 };

/* The step algorithm panels cuts the features into a panel for every PANEL_VECTORS vectors, but into MAX_PANELS at most:
 * memory delivers long runs of a row faster than short ones. Measured on two threads: with two panels an epoch over
 * 60000 x 784 x 10 takes a sixth less time than with scores by rows and the update by strips.
 *   python -m benchmarks.tune MAX_PANELS=1 --shape 60000 784 10 128 --threads 2
 *   python -m benchmarks.tune MAX_PANELS=4 --shape 20000 3073 10 256 --threads 2
 *   python -m benchmarks.tune PANEL_VECTORS=16 --shape 60000 784 10 128 --threads 2 */
enum { PANEL_VECTORS = 32, MAX_PANELS = 2 };

/* ---- Prefetching: rows drawn at random are where no hardware prefetcher looks ---- */

/* How many pointers to rows that may come next follow those of a kernel, and how far ahead it prefetches short ones.
 * No figures are recorded.
 *   python -m pytest benchmarks/bench_loss.py -k linear */
enum { ROWS_AHEAD = 32 };

/* Rows of up to that many bytes are prefetched ROWS_AHEAD rows ahead, into the first level of the cache: they are
 * consumed before memory answers. Longer ones would evict the weights from it: they are prefetched one tile ahead, into
 * the second level. No figures are recorded. Scores outside of training are computed
 * so (dot_tiles.h).
 *   python -m pytest benchmarks/bench_loss.py -k linear */
enum { MAX_NEAR_PREFETCH_BYTES = 1024 };

/* How many rows ahead convert.h prefetches, ROWS_AHEAD at most. No figures are recorded.
 *   python -m benchmarks.tune CONVERTED_ROWS_AHEAD=8 --shape 60000 784 10 128 --standardize */
enum { CONVERTED_ROWS_AHEAD = 16 };

/* How many sparse rows ahead values and indices are prefetched; the weights that they meet are prefetched one row ahead.
 * No figures are recorded. `make guard` has the epochs on sparse rows.
 *   python -m benchmarks.guard */
enum { SPARSE_ROWS_AHEAD = 4 };

/* ---- Block sizes ---- */

/* Up to that many classes LANES rows of logits are transposed for the softmax (softmax_transposed.h); with more, a row
 * fills enough vectors where it lies. The loss core, not training, decides by it. No figures are recorded.
 *   python -m pytest benchmarks/bench_loss.py -k cross_entropy */
enum { MAX_TRANSPOSED_CLASSES = 32 };

/* Slabs in the register tile of the step algorithm packed. A core that does two multiply-adds a cycle does only two
 * loads: one slab takes nine loads for eight of them, two take ten for sixteen. Measured on one core of a Sapphire
 * Rapids, relative to its peak: scores 75 % and update 86 % with one slab, 100 % and 94 % with two. A Zen 4, which does
 * one multiply-add of 64 bytes a cycle, reached 99 % with one.
 *   python -m benchmarks.tune SLABS_PER_TILE=1 --shape 4000 2048 1000 256 */
enum { SLABS_PER_TILE = 2 };

/* Vectors of classes in a slab of sparse weights, fewer in the last one: they stay in registers while the values of a
 * row pass. 4 at most, by the cases of step_sparse.h. No figures are recorded.
 *   python -m benchmarks.guard */
enum { SPARSE_SLAB_VECTORS = 4 };

/* Vectors of columns whose moments stay in registers for all rows, and rows in a block, over which the tiles of columns
 * take turns: it stays in the cache. Of bytes, in float32, 256 rows at most: the sums of their squares are whole numbers
 * below 2**24, exact in float32. No figures are recorded.
 *   python -m benchmarks.tune MOMENT_ROWS_PER_BLOCK=64 --shape 60000 784 10 128 --standardize */
enum { MOMENT_VECTORS = 4, MOMENT_ROWS_PER_BLOCK = 32, BYTE_ROWS_PER_BLOCK = 64 };

/* ---- Threads ---- */

/* For how many pause instructions a thread waits before it sleeps, some 20 to 50 microseconds: the next loop of a
 * training step comes sooner, and longer spinning would use up the time slice of its partner on a busy machine.
 *   python -m benchmarks.tune MAX_SPINS=100 --shape 60000 784 10 128 --threads 2
 *   python -m benchmarks.guard   beside busy processes */
enum { MAX_SPINS = 1000 };

#endif
