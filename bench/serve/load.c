/* The load of `bench serve`: sends requests to a line server, compares every byte of every reply,
 * and says what that cost the server.
 *
 *   load service=echo port=4242 pid=99 connections=50 depth=16 size=32 seconds=0.5
 *
 * Rules this file keeps:
 *
 *  - Work is done in turns: a connection sends its request, receives the reply that it is owed, and
 *    only then begins another.  A phase begins and ends with no turn under way, so that the lines
 *    that are counted and the CPU time that is counted belong to each other exactly.
 *  - The server's CPU time is read from outside, from the clock of its process (user and system
 *    time of all its threads, as getrusage() has it, but to the nanosecond): measuring takes
 *    nothing from the server.
 *  - Loopback only, and every wait is bounded; the program ends by itself.
 *
 * Prints one JSON object.  Exit status: 0; 2 a wrong command line; 3 a wrong reply; 4 a connection
 * that the server closed; 5 too slow; 1 anything else.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { USAGE = 2, WRONG_REPLY, CLOSED, TOO_SLOW };

enum {
    MOST_CONNECTIONS = 100000,
    OPENING_AT_ONCE = 64, /* idle connections: well below any backlog */
    ADDRESSES = 250,      /* 127.0.0.2 and up: one address has only some 28,000 free ports */
    BLOCK = 65536,        /* what `ingest` sends in one turn */
};

struct connection {
    int fd;
    bool wants_to_send; /* whether epoll watches for room */
    char *request;
    size_t request_size, sent;
    const char *reply;
    size_t reply_size, received;
    int64_t began;
    uint64_t lines; /* those of all turns so far; what `ingest` is told at the end */
    char owed[64];  /* a reply that is no copy of the request */
};

/* What a connection sends, and what it is owed for that. */
struct service {
    const char *name;
    void (*make)(struct connection *);   /* the request, once */
    void (*renew)(struct connection *);  /* the request and the reply of the next turn */
    void (*finish)(struct connection *); /* those of the last turn of a phase, if there is one */
    uint64_t lines;                      /* in one turn; set at the start */
    bool connects_anew;                  /* for every turn */
    bool waits;                          /* whether how long a turn takes means anything */
};

static const struct service *service;
static long port, server, connections = 1, depth = 1, size = 32, idle, limit = 60, patience = 10;
static double seconds = 0.5, warm_up = 0.1;

static int poller;
static long under_way;
static bool is_open, is_finishing;
static uint64_t lines; /* of all turns that ended */
static int64_t phase_end;
static struct connection *all;
static char scratch[1 << 18];

static void __attribute__((noreturn, format(printf, 2, 3)))
fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(status);
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        fail(1, "cannot read the CPU clock of the server: %s", strerror(errno));
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int64_t now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static void *make_room(size_t room)
{
    void *made = calloc(1, room);
    if (made == NULL)
        fail(1, "out of memory");
    return made;
}

/* How long turns took: counts in buckets that are 1/32 wide, good for any time and for percentiles
 * to three per cent. */

enum { FINE = 32, BUCKETS = 64 * FINE };
static uint64_t histogram[BUCKETS];

static void record(uint64_t nanoseconds)
{
    int shift = 0;
    while (nanoseconds >> shift >= 2 * FINE)
        shift++;
    histogram[(uint64_t) (shift * FINE) + (nanoseconds >> shift)]++;
}

static double percentile(double part)
{
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        total += histogram[i];
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > 0 && (double) seen >= part * (double) total) {
            int shift = i < 2 * FINE ? 0 : i / FINE - 1;
            return (double) ((uint64_t) (i - shift * FINE) << shift);
        }
    }
    return 0;
}

/* The services.  Every line begins with a number of its own, so that a reply that comes twice, late
 * or to the wrong connection is a wrong one. */

static void number(char *line)
{
    static uint32_t last;
    uint32_t value = ++last;
    for (int i = 7; i >= 0; i--, value >>= 4)
        line[i] = "0123456789abcdef"[value & 15];
}

static void fill_lines(char *begin, size_t line, size_t count)
{
    for (size_t i = 0; i < line * count; i++)
        begin[i] = (char) ('a' + i % 26);
    for (size_t i = 1; i <= count; i++)
        memcpy(begin + i * line - 2, "\r\n", 2);
}

static void make_echo(struct connection *c)
{
    c->request_size = c->reply_size = (size_t) (depth * size);
    c->request = make_room(c->request_size);
    c->reply = c->request;
    fill_lines(c->request, (size_t) size, (size_t) depth);
}

static void renew_echo(struct connection *c)
{
    for (size_t at = 0; at < c->request_size; at += (size_t) size)
        number(c->request + at);
}

/* Lines without replies; at the end of a phase "?" is answered with how many there were. */

static void make_ingest(struct connection *c)
{
    c->request_size = (size_t) (service->lines * (uint64_t) size);
    c->request = make_room(c->request_size);
    fill_lines(c->request, (size_t) size, (size_t) service->lines);
}

static void renew_ingest(struct connection *c)
{
    if (c->request == c->owed) /* the end of an earlier phase */
        make_ingest(c);
    c->reply_size = 0;
}

static void finish_ingest(struct connection *c)
{
    free(c->request);
    c->request_size = (size_t) snprintf(c->owed, sizeof c->owed, "?\r\n");
    c->reply_size = (size_t) snprintf(
        c->owed + 8, sizeof c->owed - 8, "%llu\r\n", (unsigned long long) c->lines);
    c->request = c->owed;
    c->reply = c->owed + 8;
}

/* A line with a number and then so many bytes, answered with the number, the first eight and the
 * last eight of them.  There are line ends in the body: only a server that counts finds its end. */

static void make_bodies(struct connection *c)
{
    int head = snprintf(c->owed, sizeof c->owed, "%ld\r\n", size);
    c->request_size = (size_t) (head + size);
    c->request = make_room(c->request_size);
    memcpy(c->request, c->owed, (size_t) head);
    fill_lines(c->request + head, 64, (size_t) size / 64);
}

static void renew_bodies(struct connection *c)
{
    char *end = c->request + c->request_size, *begin = end - size;
    number(begin);
    number(end - 8);
    c->reply_size = (size_t) snprintf(
        c->owed, sizeof c->owed, "%ld %.8s%.8s\r\n", size, begin, end - 8);
    c->reply = c->owed;
}

/* A line with a number, answered with so many bytes: pieces of 64 KiB that count up, each from
 * another beginning. */

static void make_downloads(struct connection *c)
{
    static char *expected;
    if (expected == NULL) {
        expected = make_room((size_t) size);
        for (long i = 0; i < size; i++)
            expected[i] = (char) (31 * (i / 65536 % 16) + i);
    }
    c->request = make_room(32);
    c->request_size = (size_t) snprintf(c->request, 32, "%ld\r\n", size);
    c->reply = expected;
    c->reply_size = (size_t) size;
}

static void renew_downloads(struct connection *c)
{
    (void) c;
}

static struct service services[] = {
    {"echo", make_echo, renew_echo, NULL, 0, false, true},
    {"churn", make_echo, renew_echo, NULL, 0, true, true},
    {"ingest", make_ingest, renew_ingest, finish_ingest, 0, false, false},
    {"bodies", make_bodies, renew_bodies, NULL, 0, false, true},
    {"downloads", make_downloads, renew_downloads, NULL, 0, false, true},
};

/* Connections. */

static void watch(struct connection *c, int operation, bool wants_to_send)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (wants_to_send)
        event.events |= EPOLLOUT;
    if (epoll_ctl(poller, operation, c->fd, &event) < 0)
        fail(1, "epoll_ctl: %s", strerror(errno));
    c->wants_to_send = wants_to_send;
}

static void connect_to_server(struct connection *c)
{
    static uint32_t next;
    struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
    int on = 1;
    here.sin_addr.s_addr = htonl(0x7f000002 + next++ % ADDRESSES);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    there.sin_port = htons((uint16_t) port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Let connect() choose the port: bind() would refuse one that only another peer uses. */
    if (c->fd < 0 || setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0
        || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0
        || bind(c->fd, (struct sockaddr *) &here, sizeof here) < 0
        || connect(c->fd, (struct sockaddr *) &there, sizeof there) < 0
        || fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        fail(1, "cannot connect: %s", strerror(errno));
    watch(c, EPOLL_CTL_ADD, false);
}

static long number_of(struct connection *c)
{
    return c - all;
}

static void transmit(struct connection *c)
{
    while (c->sent < c->request_size) {
        ssize_t count = send(c->fd, c->request + c->sent, c->request_size - c->sent, MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN)
            fail(CLOSED, "connection %ld was closed by the server: %s", number_of(c),
                strerror(errno));
        if (count < 0)
            break;
        c->sent += (size_t) count;
    }
    /* Without a reply, room for more is what ends the turn. */
    bool wants_to_send = c->sent < c->request_size || c->reply_size == 0;
    if (wants_to_send != c->wants_to_send)
        watch(c, EPOLL_CTL_MOD, wants_to_send);
}

static void receive(struct connection *c)
{
    ssize_t count = recv(c->fd, scratch, sizeof scratch, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0)
        fail(CLOSED, "connection %ld was closed by the server, %zu bytes before the end of a reply",
            number_of(c), c->reply_size - c->received);
    size_t owed = c->reply_size - c->received;
    size_t same = (size_t) count < owed ? (size_t) count : owed;
    const char *expected = c->reply + c->received;
    /* What comes before it was asked for is compared as well; numbered lines cannot be guessed. */
    if (memcmp(expected, scratch, same) != 0) {
        for (same = 0; expected[same] == scratch[same]; same++)
            ;
        fail(WRONG_REPLY, "connection %ld got a wrong reply: byte %zu of %zu is %#x, not %#x",
            number_of(c), c->received + same, c->reply_size, (unsigned char) scratch[same],
            (unsigned char) expected[same]);
    }
    if ((size_t) count > owed)
        fail(WRONG_REPLY, "connection %ld got %zu bytes more than it was owed", number_of(c),
            (size_t) count - owed);
    c->received += (size_t) count;
}

static void start_turn(struct connection *c)
{
    c->sent = c->received = 0;
    under_way++;
    transmit(c);
}

static void begin(struct connection *c)
{
    c->began = now();
    if (service->connects_anew)
        connect_to_server(c);
    service->renew(c);
    start_turn(c);
}

static void end_turn(struct connection *c)
{
    under_way--;
    if (c >= all + connections) /* an idle one, which has been answered once */
        return;
    if (service->connects_anew)
        close(c->fd);
    if (!is_finishing) {
        lines += service->lines;
        c->lines += service->lines;
        if (service->waits)
            record((uint64_t) (now() - c->began));
    }
    if (is_open)
        begin(c);
    else if (!service->connects_anew && c->wants_to_send)
        watch(c, EPOLL_CTL_MOD, false);
}

/* Serve events until no turn is under way, or fewer than `few`. */
static void run(long few)
{
    struct epoll_event events[256];
    while (under_way >= few && under_way > 0) {
        int count = epoll_wait(poller, events, 256, (int) patience * 1000);
        if (count < 0 && errno != EINTR)
            fail(1, "epoll_wait: %s", strerror(errno));
        if (count == 0)
            fail(TOO_SLOW, "no reply for %ld s", patience);
        if (is_open && now() >= phase_end)
            is_open = false;
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & ~(uint32_t) EPOLLOUT)
                receive(c);
            if (c->sent < c->request_size)
                transmit(c);
            if (c->sent == c->request_size && c->received == c->reply_size)
                end_turn(c);
        }
    }
}

/* Turns on all connections for so many nanoseconds, and to the end of those that are under way. */
static void run_phase(double length)
{
    phase_end = now() + (int64_t) (length * 1e9);
    is_open = true;
    for (long i = 0; i < connections; i++)
        begin(&all[i]);
    run(1);
    if (service->finish != NULL) {
        is_finishing = true;
        for (long i = 0; i < connections; i++) {
            service->finish(&all[i]);
            start_turn(&all[i]);
        }
        run(1);
        is_finishing = false;
    }
}

/* Connections that are answered one line and then stay.  Some at a time, so that the server's
 * backlog cannot overflow. */
static void open_idle(void)
{
    int64_t end = now() + limit * INT64_C(1000000000);
    for (long i = 0; i < idle; i++) {
        struct connection *c = &all[connections + i];
        c->request = make_room(16);
        c->reply = c->request;
        c->request_size = c->reply_size = 10;
        fill_lines(c->request, 10, 1);
        number(c->request);
        connect_to_server(c);
        start_turn(c);
        run(OPENING_AT_ONCE);
        if (now() > end)
            fail(TOO_SLOW, "%ld of %ld idle connections were open after %ld s", i, idle, limit);
    }
    run(1);
}

/* The server's memory that is in RAM, in KiB; exact, which /proc/PID/statm is not. */
static long read_memory(void)
{
    char name[64], line[256];
    long memory = 0;
    snprintf(name, sizeof name, "/proc/%ld/smaps_rollup", server);
    FILE *file = fopen(name, "r");
    if (file == NULL)
        fail(1, "cannot read %s: %s", name, strerror(errno));
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Rss: %ld kB", &memory) == 1)
            break;
    fclose(file);
    return memory;
}

/* How long the server was ready to run while something else had its CPU, in nanoseconds: on a quiet
 * machine next to nothing.  0 where the kernel does not say. */
static int64_t read_waiting(void)
{
    char name[64];
    long long running, waiting = 0;
    snprintf(name, sizeof name, "/proc/%ld/schedstat", server);
    FILE *file = fopen(name, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lld %lld", &running, &waiting) != 2)
        waiting = 0;
    fclose(file);
    return waiting;
}

/* The kernel brings the CPU clock of a process up to date when it stops running, and else only at
 * the next tick.  With no turn under way the server soon sleeps. */
static void let_server_rest(void)
{
    char name[64], line[512];
    snprintf(name, sizeof name, "/proc/%ld/stat", server);
    for (int tries = 0; tries < 1000; tries++) {
        FILE *file = fopen(name, "r");
        if (file == NULL || fgets(line, sizeof line, file) == NULL)
            fail(1, "cannot read %s: %s", name, strerror(errno));
        fclose(file);
        const char *state = strrchr(line, ')');
        usleep(200);
        if (state != NULL && state[2] == 'S')
            break;
    }
}

static void out_of_time(int signal)
{
    static const char text[] = "load: not done in time\n";
    (void) signal;
    if (write(2, text, sizeof text - 1) < 0)
        _exit(1);
    _exit(TOO_SLOW);
}

static void read_arguments(int count, char **words)
{
    for (int i = 1; i < count; i++) {
        char *value = strchr(words[i], '=');
        if (value == NULL)
            fail(USAGE, "%s: not name=value", words[i]);
        *value++ = '\0';
        if (strcmp(words[i], "service") == 0) {
            service = NULL;
            for (size_t s = 0; s < sizeof services / sizeof *services; s++)
                if (strcmp(services[s].name, value) == 0)
                    service = &services[s];
        }
        else if (strcmp(words[i], "port") == 0)
            port = atol(value);
        else if (strcmp(words[i], "pid") == 0)
            server = atol(value);
        else if (strcmp(words[i], "connections") == 0)
            connections = atol(value);
        else if (strcmp(words[i], "depth") == 0)
            depth = atol(value);
        else if (strcmp(words[i], "size") == 0)
            size = atol(value);
        else if (strcmp(words[i], "idle") == 0)
            idle = atol(value);
        else if (strcmp(words[i], "limit") == 0)
            limit = atol(value);
        else if (strcmp(words[i], "patience") == 0)
            patience = atol(value);
        else if (strcmp(words[i], "seconds") == 0)
            seconds = atof(value);
        else if (strcmp(words[i], "warm_up") == 0)
            warm_up = atof(value);
        else
            fail(USAGE, "there is no option %s", words[i]);
    }
    if (service == NULL || port <= 0 || server <= 0 || connections < 1 || depth < 1 || size < 16
        || idle < 0 || connections + idle > MOST_CONNECTIONS || size > 100000000
        || depth * size > 100000000 || seconds < 0 || seconds > 60 || warm_up < 0 || warm_up > 60
        || limit < 1 || limit > 600 || patience < 1 || patience > 60)
        fail(USAGE, "an option is missing or out of its bounds");
    for (size_t s = 0; s < sizeof services / sizeof *services; s++) {
        services[s].lines = (uint64_t) depth;
        if (services[s].finish != NULL && size < BLOCK)
            services[s].lines = (uint64_t) (BLOCK / size);
    }
}

int main(int count, char **words)
{
    clockid_t server_clock;
    read_arguments(count, words);
    signal(SIGALRM, out_of_time);
    alarm((unsigned) (limit + 60));
    if (clock_getcpuclockid((pid_t) server, &server_clock) != 0)
        fail(1, "there is no process %ld", server);
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = make_room(sizeof *all * (size_t) (connections + idle));
    for (long i = 0; i < connections; i++) {
        service->make(&all[i]);
        if (!service->connects_anew)
            connect_to_server(&all[i]);
    }
    run_phase(warm_up);
    long memory = 0;
    if (idle > 0) {
        memory = read_memory();
        open_idle();
        memory = read_memory() - memory;
        run_phase(warm_up);
    }

    lines = 0;
    memset(histogram, 0, sizeof histogram);
    let_server_rest();
    int64_t waiting_began = read_waiting();
    int64_t server_began = read_clock(server_clock);
    int64_t load_began = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    int64_t began = now();
    run_phase(seconds);
    int64_t took = now() - began;
    int64_t load_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - load_began;
    let_server_rest();
    int64_t server_cpu = read_clock(server_clock) - server_began;
    int64_t waiting = read_waiting() - waiting_began;

    printf("{\"lines\": %llu, \"seconds\": %.9f, \"server_cpu\": %.9f, \"load_cpu\": %.9f, "
           "\"waiting\": %.9f, ",
        (unsigned long long) lines, (double) took / 1e9, (double) server_cpu / 1e9,
        (double) load_cpu / 1e9, (double) waiting / 1e9);
    if (service->waits)
        printf("\"p50\": %.9f, \"p99\": %.9f, ", percentile(0.5) / 1e9, percentile(0.99) / 1e9);
    printf("\"idle_memory\": %ld}\n", memory * 1024);
    return 0;
}
