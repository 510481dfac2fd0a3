/* Runs a program on one CPU, and never longer than its parent lives.
 *
 *   pinned CPU PROGRAM ARGUMENTS...
 *
 * A program of its own, because what is to run may be anybody's, and because in Python only a
 * function called between fork() and exec() could do it, which threads make unsafe.
 */

#define _GNU_SOURCE

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **words)
{
    cpu_set_t cpus;
    if (count < 3) {
        fprintf(stderr, "usage: pinned CPU PROGRAM ARGUMENTS...\n");
        return 2;
    }
    CPU_ZERO(&cpus);
    CPU_SET((size_t) atoi(words[1]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        perror("pinned");
        return 1;
    }
    execvp(words[2], words + 2);
    perror(words[2]);
    return 127;
}
