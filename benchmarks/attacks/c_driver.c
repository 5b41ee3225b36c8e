/* Runs an exported library on graphs from standard input; writes the status of each, and its logits where that is 0.
 *
 * PREFIX is the prefix of the library's functions; its header comes by -include. All numbers are int32 of this machine.
 * A graph: num_nodes and num_edges as the library is told them; bytes of input and its content; edges that are there,
 * their sources and targets; number of logits.
 */
#include <stdio.h>
#include <stdlib.h>

#define JOIN_PARTS(a, b) a##b
#define JOIN(a, b) JOIN_PARTS(a, b)

static int32_t number(void)
{
    int32_t value;
    if (fread(&value, sizeof value, 1, stdin) != 1) {
        exit(0); /* the last graph was the one before */
    }
    return value;
}

/* Memory of exactly that size: a sanitizer sees a read behind its end. */
static void *block(size_t size)
{
    void *found = malloc(size ? size : 1);
    if (!found || (size && fread(found, size, 1, stdin) != 1)) {
        exit(2);
    }
    return found;
}

int main(void)
{
    for (;;) {
        const int32_t num_nodes = number(), num_edges = number(), bytes = number();
        void *const input = block((size_t)bytes);
        const int32_t given = number();
        int32_t *const source = block(4 * (size_t)given), *const target = block(4 * (size_t)given);
        const int32_t count = number();
        int32_t *const logits = malloc(4 * (size_t)count + 1);
        const int32_t status = JOIN(PREFIX, _run)(input, num_nodes, source, target, num_edges, logits);
        fwrite(&status, sizeof status, 1, stdout);
        if (status == 0) {
            fwrite(logits, sizeof *logits, (size_t)count, stdout);
        }
        free(input);
        free(source);
        free(target);
        free(logits);
    }
}
