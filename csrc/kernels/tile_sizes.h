/* The sizes of the tiles into which classes are cut, as constants that the compiler can unroll by.
 *
 * Decisions:
 *   - A tile of few accumulators waits for the multiply-adds before: nine classes are five and four, not five, two and
 *     two, which also read the rows once more. So what is left for two tiles is halved.
 *   - No sum depends on it.
 */
#ifndef FASTSOFTMAX_TILE_SIZES_H
#define FASTSOFTMAX_TILE_SIZES_H

#include "runtime/platform.h"

/* Return the size of the next tile where n > 0 are left and a tile has `most`. */
ALWAYS_INLINE size_t tile_size(size_t n, size_t most) {
    return n >= 2 * most ? most : n > most ? (n + 1) / 2 : n;
}

/* Calls CALL(n) with n as a constant, for n up to the size of a tile. */
#define FOR_TILE_SIZE(n, most, CALL)       \
    switch ((n) < (most) ? (n) : (most)) { \
    case 1:                                \
        CALL(1);                           \
        break;                             \
    case 2:                                \
        CALL(2);                           \
        break;                             \
    case 3:                                \
        CALL(3 < (most) ? 3 : (most));     \
        break;                             \
    case 4:                                \
        CALL(4 < (most) ? 4 : (most));     \
        break;                             \
    case 5:                                \
        CALL(5 < (most) ? 5 : (most));     \
        break;                             \
    case 6:                                \
        CALL(6 < (most) ? 6 : (most));     \
        break;                             \
    case 7:                                \
        CALL(7 < (most) ? 7 : (most));     \
        break;                             \
    case 8:                                \
        CALL(8 < (most) ? 8 : (most));     \
        break;                             \
    case 9:                                \
        CALL(9 < (most) ? 9 : (most));     \
        break;                             \
    default:                               \
        CALL(most);                        \
        break;                             \
    }

#endif
