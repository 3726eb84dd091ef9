/* Tuning: every threshold and block size of the kernels and of their drivers in Cython that speed alone decides, in one
 * place.
 *
 * Each has one comment: what it decides, what was measured if that is recorded, and the command that reproduces it.
 * benchmarks/tune.py builds a copy of the tree with another value, and epochs with and without it take turns: above 1,
 * its ratio says that the value here is the better one, for that shape (samples, features, classes, minibatch).
 * "Ratio 1.10" below is what a command gave on two cores of a Zen 3 with AVX2, with 512 KiB of L2 a core; what is within
 * 0.95 and 1.05 is noise. Measure on a machine that does nothing else; `make guard` then shows whether a new value costs anything elsewhere. What no
 * epoch shows, a suite does: `python -m pytest benchmarks/bench_loss.py --benchmark-autosave` with one value, and the same
 * with --benchmark-compare with the other one.
 *
 * Not here: the register tiles, which follow from the number of registers (TILE_* in simd/<set>.h), the constants that
 * fix the order of a sum (TREE_VECTORS, PARTIAL_SUMS, CLASSES_PER_PARTIAL_SUM), how long a thread spins
 * (runtime/thread_pool.c), which memory comes in huge pages (runtime/platform.h), and when the divisor of sparse weights is reset so that no digits are lost (step_sparse.pxi).
 *
 * Some of those here change the order of sums as well, and so the last bits of a result: FEW_CLASSES, PANEL_VECTORS,
 * MAX_PANELS, MAX_SHORT_ROW_BYTES, PRODUCTS_OF_A_CHUNK, PRODUCTS_OF_A_SAMPLE, MAX_SAMPLE_CHUNKS, SAMPLES_PER_PASS and
 * MAX_CATCH_UP_STEPS those of a trained model; FEW_CLASSES, PRODUCTS_PER_CHUNK, MAX_SAMPLE_CHUNKS, SAMPLES_PER_PASS,
 * MAX_PACKED_LOSS_ROWS and PACKED_LOGITS_BYTES those of linear_cross_entropy; MAX_ROWS_PER_SUM those of transposed_product; MAX_MOMENT_CHUNKS,
 * MAX_MOMENTS and MIN_ROWS_PER_MOMENT_CHUNK those of means and scales.
 */
#ifndef FASTSOFTMAX_TUNING_H
#define FASTSOFTMAX_TUNING_H

/* ---- Which step algorithm runs ---- */

/* The most classes with which a step of dense training is short_rows or panels; above, it is packed, which wastes what is
 * left of the last vector of classes. It also bounds arrays on the stack of the first two. Measured: packed takes a tenth
 * less time at 48 classes, where it wastes nothing, and a seventh more at 40.
 *   python -m benchmarks.tune FASTSOFTMAX_STEP=packed --shape 20000 784 40 128
 *   python -m benchmarks.tune FEW_CLASSES=48 --shape 20000 784 48 128 */
enum { FEW_CLASSES = 40 };

/* The longest rows, in the dtype of the weights, that short_rows trains; panels of features are faster with longer ones.
 * Measured: 54 features and 7 classes take 1.6 times as long by panels.
 *   python -m benchmarks.tune FASTSOFTMAX_STEP=panels --shape 100000 54 7 256
 *   python -m benchmarks.tune MAX_SHORT_ROW_BYTES=2048 --shape 60000 400 10 128 */
enum { MAX_SHORT_ROW_BYTES = 1024 };

/* The step algorithm panels cuts the features into a panel for every PANEL_VECTORS vectors, but into MAX_PANELS at most:
 * memory delivers long runs of a row faster than short ones. Measured on two threads of a Zen 4: with two
 * panels an epoch over 60000 x 784 x 10 takes a sixth less time than with scores by rows and the update by strips. Ratios on
 * a Zen 3 0.98, 0.95 and 1.04.
 *   python -m benchmarks.tune MAX_PANELS=1 --shape 60000 784 10 128 --threads 2
 *   python -m benchmarks.tune MAX_PANELS=4 --shape 20000 3073 10 256 --threads 2
 *   python -m benchmarks.tune PANEL_VECTORS=16 --shape 60000 784 10 128 --threads 2 */
enum { PANEL_VECTORS = 32, MAX_PANELS = 2 };

/* ---- Prefetching: rows drawn at random are where no hardware prefetcher looks ---- */

/* How many pointers to rows that may come next follow those of a kernel, and how far ahead it prefetches short ones.
 * Ratio 1.05.
 *   python -m benchmarks.tune ROWS_AHEAD=8 --shape 100000 54 7 0 --loss */
enum { ROWS_AHEAD = 32 };

/* The longest rows, in bytes, that are prefetched ROWS_AHEAD rows ahead, into the first level of the cache: they are
 * consumed before memory answers. Longer ones would evict the weights from it: they are prefetched one tile ahead, into
 * the second level. Scores outside of training are computed so (dot_tiles.h). Ratio 1.12.
 *   python -m benchmarks.tune MAX_NEAR_PREFETCH_BYTES=1 --shape 100000 54 7 256 --predict
 *   python -m pytest benchmarks/bench_loss.py -k linear */
enum { MAX_NEAR_PREFETCH_BYTES = 1024 };

/* How many rows ahead convert.h prefetches, ROWS_AHEAD at most. Ratio 0.99.
 *   python -m benchmarks.tune CONVERTED_ROWS_AHEAD=8 --shape 60000 784 10 128 --standardize */
enum { CONVERTED_ROWS_AHEAD = 16 };

/* How many sparse rows ahead values and indices are prefetched; the weights that they meet are prefetched one row ahead.
 * Ratio 0.99.
 *   python -m benchmarks.tune SPARSE_ROWS_AHEAD=2 --shape 4000 16384 20 32 --sparse 37 */
enum { SPARSE_ROWS_AHEAD = 4 };

/* How many samples ahead short_rows prefetches rows, a block at a time, into the second level of the cache. Ratio 1.00.
 *   python -m benchmarks.tune SAMPLES_AHEAD=16 --shape 100000 54 7 256 */
enum { SAMPLES_AHEAD = 32 };

/* The size of the second level of a core's cache where the system does not say it, and the part of it, in percent, that a
 * thread may count on. Where two minibatches fit into those of all threads, panels prefetches half of every block during the
 * update before, and a thread keeps its panel in both directions; short_rows prefetches nothing from an X that fits as a whole.
 * No result depends on it.
 *   python -m benchmarks.tune CACHE_PERCENT=1 --shape 60000 784 10 128 */
enum { DEFAULT_CACHE_BYTES = 1 << 20, CACHE_PERCENT = 78 };

/* ---- Block sizes ---- */

/* The most classes with which LANES rows of logits are transposed for the softmax (softmax_transposed.h); with more, a row
 * fills enough vectors where it lies. The loss core, not training, decides by it. Ratio 2.73.
 *   python -m benchmarks.tune MAX_TRANSPOSED_CLASSES=8 --shape 60000 0 20 0 --loss */
enum { MAX_TRANSPOSED_CLASSES = 32 };

/* With many classes, the features of linear_cross_entropy's gradient whose rows stay in the second level of the cache for
 * some dozens of classes, and the fewest that a thread takes where there are too few classes. A multiple of LANES.
 *   python -m benchmarks.tune GRADIENT_FEATURES=32 --shape 2048 768 4277 0 --loss */
enum { GRADIENT_FEATURES = 128 };

/* Slabs that the step algorithm packed takes together; a register tile has TILE_SLABS of them. A core that does two
 * multiply-adds a cycle does only two loads: one slab takes nine for eight of them, two take ten for sixteen. Measured
 * on one core of a Sapphire Rapids, relative to its peak: scores 75 % and update 86 % with one slab, 100 % and 94 % with
 * two. A Zen 4, which does one multiply-add of 64 bytes a cycle, reached 99 % with one; on a Zen 3 the ratio is 0.97.
 *   python -m benchmarks.tune SLABS_PER_TILE=1 --shape 4000 2048 1000 256 */
enum { SLABS_PER_TILE = 2 };

/* Vectors of classes in a slab of sparse weights, fewer in the last one: they stay in registers while the values of a
 * row pass. 4 at most, by the cases of step_sparse.h. Ratio 1.00.
 *   python -m benchmarks.tune SPARSE_SLAB_VECTORS=2 --shape 4000 16384 100 32 --sparse 37 */
enum { SPARSE_SLAB_VECTORS = 4 };

/* Vectors of columns whose moments stay in registers for all rows, and rows in a block, over which the tiles of columns
 * take turns: it stays in the cache. Of bytes, in float32, 256 rows at most: the sums of their squares are whole numbers
 * below 2**24, exact in float32. Ratio 1.04.
 *   python -m benchmarks.tune MOMENT_ROWS_PER_BLOCK=64 --shape 60000 784 10 128 --standardize */
enum { MOMENT_VECTORS = 4, MOMENT_ROWS_PER_BLOCK = 32, BYTE_ROWS_PER_BLOCK = 64 };

/* The samples that packed scores with one slab of classes after another: a slab is loaded once for all of them. Ratio 1.10.
 *   python -m benchmarks.tune SAMPLES_PER_SLAB=32 --shape 4000 2048 1000 256 */
enum { SAMPLES_PER_SLAB = 64 };

/* The samples that short_rows takes from their rows to their gradient before the next ones: they stay in the first level
 * of the cache. A multiple of LANES. Ratio 0.99.
 *   python -m benchmarks.tune SAMPLES_PER_PASS=128 --shape 100000 54 7 256 */
enum { SAMPLES_PER_PASS = 64 };

/* linear_cross_entropy with labels and few classes: the longest rows of which it takes SAMPLES_PER_PASS at a time, else
 * MIN_ROWS_PER_CHUNK: they stay in the second level of the cache. Measured: of 1500 float32 and 3 classes 64 rows at a time
 * take 445 ns a row, 16 take 364; of 784 and 40 classes 2190 and 2666.
 *   python -m pytest benchmarks/bench_loss.py -k linear */
enum { MAX_PASS_ROW_BYTES = 4096 };

/* With momentum on sparse rows, the steps after which all weights are brought up to date: the maps of the steps in between
 * (step_sparse.h) stay in the cache. Every epoch begins up to date, so one with fewer steps shows nothing. Ratio 1.01.
 *   python -m benchmarks.tune MAX_CATCH_UP_STEPS=1024 --shape 40000 16384 20 4 --sparse 37 --momentum 0.9 */
enum { MAX_CATCH_UP_STEPS = 1 << 16 };

/* The rows of X that linear_cross_entropy takes per block with few classes: their logits stay in the cache. Ratio 1.03.
 *   python -m benchmarks.tune LOSS_ROWS_PER_BLOCK=64 --shape 20000 784 10 0 --loss */
enum { LOSS_ROWS_PER_BLOCK = 256 };

/* With many classes, the rows per block are as many as have logits of PACKED_LOGITS_BYTES or of half the size of W,
 * MAX_PACKED_LOSS_ROWS at most: W is read twice for each block, its gradient read and written. Measured: 4096 rows, 768
 * features and 50257 classes need 78 MiB besides inputs and gradients, which take 159 MiB each; all logits would need 785.
 *   python -m benchmarks.tune PACKED_LOGITS_BYTES=6291456 --shape 1024 768 32000 0 --loss
 *   python -m benchmarks.tune MAX_PACKED_LOSS_ROWS=256 --shape 2048 768 4277 0 --loss */
enum { PACKED_LOGITS_BYTES = 32 << 20, MAX_PACKED_LOSS_ROWS = 512 };

/* The numbers of dlogits, of some dozens of classes, with which linear_cross_entropy sums the gradient of W at a time, with
 * many classes: they stay in the second level of the cache for all features.
 *   python -m benchmarks.tune PACKED_DLOGITS=65536 --shape 2048 768 4277 0 --loss */
enum { PACKED_DLOGITS = 1 << 15 };

/* The classes over which linear_cross_entropy sums the gradient of X at a time, with many classes: their weights and dlogits
 * stay in the second level of the cache. A multiple of FEATURES_PER_SUM: so it does not change the order of the sum.
 *   python -m benchmarks.tune CLASSES_PER_PASS=1024 --shape 2048 768 4277 0 --loss */
enum { CLASSES_PER_PASS = 256 };

/* How many rows ahead the parts of rows are prefetched that are packed into slabs.
 *   python -m benchmarks.tune PACKED_ROWS_AHEAD=1 --shape 2048 768 4277 0 --loss */
enum { PACKED_ROWS_AHEAD = 4 };

/* The rows that a thread predicts per block: with many classes, weights are loaded once for all of them. Where rows are
 * converted or packed, only LANES of them if they would take more than MAX_PREDICTED_BYTES. Ratios 0.91 and 1.02.
 *   python -m benchmarks.tune PREDICTED_ROWS_PER_BLOCK=32 --shape 4000 2048 1000 256 --predict
 *   python -m benchmarks.tune MAX_PREDICTED_BYTES=65536 --shape 4000 2048 1000 256 --predict */
enum { PREDICTED_ROWS_PER_BLOCK = 64, MAX_PREDICTED_BYTES = 1 << 20 };

/* transposed_product: the rows in a block, over which the strips of columns take turns: SUMMED_BYTES of them, so that they
 * stay in the cache. A sum over MAX_ROWS_PER_SUM rows, a multiple of MAX_SUMMED_ROWS, goes to float64. No figures are
 * recorded.
 *   python -m pytest benchmarks/bench_loss.py -k transposed_product */
enum {
    SUMMED_BYTES = 1 << 17,
    MIN_SUMMED_ROWS = 16,
    MAX_SUMMED_ROWS = 256,
    MAX_ROWS_PER_SUM = 1024
};

/* The most rows whose losses are kept on the stack, by the fast path of softmax_cross_entropy.
 *   python -m pytest benchmarks/bench_loss.py -k softmax_cross_entropy */
enum { MAX_LOSSES_ON_STACK = 256 };

/* ---- Chunks: what one thread takes at a time ---- */

/* A loop has CHUNKS_PER_THREAD chunks for each thread, so that others can make up for a slow one, but MAX_CHUNKS at most,
 * which also bounds arrays on the stack. Ratio 0.95, of the shortest times 1.04.
 *   python -m benchmarks.tune CHUNKS_PER_THREAD=2 --shape 60000 784 10 128 --threads 2 */
enum { CHUNKS_PER_THREAD = 8, MAX_CHUNKS = 64 };

/* A chunk of samples has a multiple of these rows. A multiple of LANES, since chunks begin with a block. Ratio 0.98.
 *   python -m benchmarks.tune MIN_ROWS_PER_CHUNK=32 --shape 60000 784 10 128 --threads 2 */
enum { MIN_ROWS_PER_CHUNK = 16 };

/* A minibatch of short_rows is cut into chunks, a power of two of them, where each costs PRODUCTS_OF_A_CHUNK or more: else it
 * is not worth a thread. A sample costs its products of a feature and a class, and PRODUCTS_OF_A_SAMPLE for what does not
 * depend on them: its row and label come from memory, its loss is computed. There are MAX_SAMPLE_CHUNKS at most, as each has
 * a gradient. Measured on two threads of a Zen 3, relative to chunks of 40000 products and 64 samples, and at least 90000
 * products in all: 18 x 2, minibatches of 256, 0.71 of the time, of 512 0.56; 30 x 10 of 128 0.56; 100 x 2 of 256 0.57. With
 * 7000, 64 samples of 18 x 2 take 1.4 times as long as by one thread; with 40000, 256 of them take 1.4 times as long as
 * with 20000. Two chunks of this cost take two threads 0.6 to 0.85 of the time of one.
 *   python -m benchmarks.tune PRODUCTS_OF_A_CHUNK=40000 --shape 200000 18 2 256 --threads 2
 *   python -m benchmarks.tune PRODUCTS_OF_A_CHUNK=7000 --shape 200000 18 2 64 --threads 2
 *   python -m benchmarks.tune MAX_SAMPLE_CHUNKS=4 --shape 100000 54 7 4096 --threads 2 */
enum { PRODUCTS_OF_A_CHUNK = 20000, PRODUCTS_OF_A_SAMPLE = 200, MAX_SAMPLE_CHUNKS = 16 };

/* Of an X that is no larger than so many caches of a thread, short_rows gives threads the minibatches of
 * MIN_PRODUCTS_FOR_THREADS alone: its rows do not come from memory. Measured on two threads of a Zen 3: digits, 1437 x 64 x
 * 10, take 1.3 times as long with minibatches of 64 or 128 samples by two threads as by one; 10000 x 64 x 10 takes as long.
 *   python -m benchmarks.tune CACHES_OF_ROWS=0 --shape 1437 64 10 64 --threads 2 */
enum { CACHES_OF_ROWS = 4 };

/* A chunk of the rows of linear_cross_entropy with few classes, or of transposed_product, has at least PRODUCTS_PER_CHUNK
 * products of a feature and a class.
 *   python -m benchmarks.tune PRODUCTS_PER_CHUNK=10000 --shape 100000 20 2 0 --loss --threads 2 */
enum { PRODUCTS_PER_CHUNK = 40000 };

/* Moments of columns: chunks of rows have sums of their own, MAX_MOMENT_CHUNKS at most, of MAX_MOMENTS numbers in all and of
 * MIN_ROWS_PER_MOMENT_CHUNK rows at least. Ratios 1.03, 0.94 (of the shortest times 1.11) and 0.98.
 *   python -m benchmarks.tune MIN_ROWS_PER_MOMENT_CHUNK=1024 --shape 60000 784 10 128 --standardize --threads 2
 *   python -m benchmarks.tune MAX_MOMENT_CHUNKS=16 --shape 60000 784 10 128 --standardize --threads 2
 *   python -m benchmarks.tune MAX_MOMENTS=65536 --shape 20000 3073 10 256 --standardize --threads 2 */
enum { MAX_MOMENT_CHUNKS = 64, MAX_MOMENTS = 1 << 20, MIN_ROWS_PER_MOMENT_CHUNK = 256 };

/* ---- Threads: below these, one thread alone is done before a second one has begun ---- */

/* Elements of the logits, for the functions of rows, or of X, for its moments. Ratio 1.06.
 *   python -m pytest benchmarks/bench_loss.py -k softmax
 *   python -m benchmarks.tune MIN_ELEMENTS_FOR_THREADS=1 --shape 1000 10 10 1000 --standardize --threads 2 */
enum { MIN_ELEMENTS_FOR_THREADS = 20000 };

/* Elements of the logits from which on a call of the loss core releases the GIL, which takes 50 ns: those of a microsecond.
 *   python -m pytest benchmarks/bench_loss.py -k small */
enum { MIN_ELEMENTS_TO_RELEASE = 1000 };

/* Products of a row, a feature and a class: of a minibatch, of a block of linear_cross_entropy, of a prediction. Ratio 1.01.
 *   python -m benchmarks.tune MIN_PRODUCTS_FOR_THREADS=1 --shape 20000 64 10 32 --threads 2 */
enum { MIN_PRODUCTS_FOR_THREADS = 90000 };

/* Logits of a minibatch whose panels have a thread each, for the loop over the losses. Ratio 1.05.
 *   python -m benchmarks.tune MIN_LOGITS_FOR_THREADS=1 --shape 60000 784 10 128 --threads 2 */
enum { MIN_LOGITS_FOR_THREADS = 4000 };

#endif
