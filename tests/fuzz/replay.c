/* Stands in for libFuzzer where inputs are only replayed: gives a target the named files, one after another. The last
 * name that it prints is that of the input on which the target has ended.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int main(int n_words, char **words) {
    for (int i = 1; i < n_words; ++i) {
        printf("%s\n", words[i]);
        fflush(stdout);
        FILE *file = fopen(words[i], "rb");
        if (!file || fseek(file, 0, SEEK_END)) abort();
        /* No byte more: a read beyond the input is one beyond the allocation. */
        size_t n = (size_t)ftell(file);
        uint8_t *data = malloc(n ? n : 1);
        rewind(file);
        if (!data || fread(data, 1, n, file) != n) abort();
        fclose(file);
        LLVMFuzzerTestOneInput(data, n);
        free(data);
    }
    return 0;
}
