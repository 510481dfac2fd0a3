/* What C can do at best: counts terminators with memchr and no Python in between.
 *
 * Looks for the last byte of the terminator and compares what stands before it.  The whole loop is
 * here, and so are the repetitions, so that calling it from Python costs next to nothing.
 */

#define _GNU_SOURCE

#include <stddef.h>
#include <string.h>

size_t count_terminators(
    const char *data, size_t size, const char *wanted, size_t length, size_t repeats);

static size_t count_once(const char *data, size_t size, const char *wanted, size_t length)
{
    size_t count = 0, before = length - 1;
    const char *at = data + before, *end = data + size;
    while (at < end) {
        const char *hit = memchr(at, wanted[before], (size_t) (end - at));
        if (hit == NULL)
            break;
        if (memcmp(hit - before, wanted, before) == 0) {
            count++;
            at = hit + length;
        } else
            at = hit + 1;
    }
    return count;
}

/* The terminators in data[0:size], counted so many times; returns their sum. */
size_t count_terminators(
    const char *data, size_t size, const char *wanted, size_t length, size_t repeats)
{
    size_t sum = 0;
    while (repeats-- > 0) {
        sum += count_once(data, size, wanted, length);
        /* The compiler may not know that it is the same every time. */
        __asm__ volatile("" : : "r"(data) : "memory");
    }
    return sum;
}
