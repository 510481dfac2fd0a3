/* The limit: what the kernel lets any server do, as `bench serve` measures it.
 *
 *   limit echo|ingest|bodies|downloads
 *
 * One thread, epoll, memchr, one receive for each event, and one send for all that it answers.  It
 * speaks the protocols that engines/__init__.py describes, and knows nothing of errors beyond
 * closing the connection.
 *
 * What is received is looked at where it lies.  A connection has memory of its own only while it
 * holds the beginning of a line, the beginning of a body, or replies that the peer does not take.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, PIECE = 65536, PIECES = 16 };

/* Bytes that can grow. */
struct buffer {
    char *data;
    size_t size, room;
};

struct connection {
    int fd;
    bool waits_for_room;
    struct buffer held;    /* the beginning of a line, or of a body */
    size_t body;           /* the size of the body that is being received; 0 between bodies */
    struct buffer unsent;  /* replies that the peer did not take yet */
    size_t sent;           /* of them */
    uint64_t lines;        /* ingest */
    size_t produced, size; /* downloads */
};

static int poller;
static char input[1 << 18];
static struct buffer output; /* the replies to one receive */
static char pieces[PIECES][PIECE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void append(struct buffer *buffer, const char *data, size_t size)
{
    if (buffer->size + size > buffer->room) {
        buffer->room = 2 * (buffer->size + size);
        buffer->data = realloc(buffer->data, buffer->room);
        if (buffer->data == NULL)
            die("realloc");
    }
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static void clear(struct buffer *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof *buffer);
}

static void drop(struct connection *c)
{
    close(c->fd);
    clear(&c->held);
    clear(&c->unsent);
    free(c);
}

/* While replies wait, nothing more is received. */
static void wait_for_room(struct connection *c, bool waits)
{
    struct epoll_event event = {.events = waits ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (waits != c->waits_for_room && epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) < 0)
        die("epoll_ctl");
    c->waits_for_room = waits;
}

/* What to do with one line, without its end. */

static void echo_line(struct connection *c, const char *line, size_t size)
{
    (void) c;
    append(&output, line, size);
    append(&output, "\r\n", 2);
}

static void ingest_line(struct connection *c, const char *line, size_t size)
{
    char text[32];
    if (size == 1 && *line == '?')
        append(&output, text,
            (size_t) sprintf(text, "%llu\r\n", (unsigned long long) c->lines));
    else
        c->lines++;
}

static size_t read_number(const char *line, size_t size)
{
    char text[24] = "";
    memcpy(text, line, size < sizeof text ? size : sizeof text - 1);
    return strtoull(text, NULL, 10);
}

static void begin_body(struct connection *c, const char *line, size_t size)
{
    c->body = read_number(line, size);
}

static void begin_download(struct connection *c, const char *line, size_t size)
{
    c->size = read_number(line, size);
    c->produced = 0;
    wait_for_room(c, true);
}

static void (*handle_line)(struct connection *, const char *, size_t);

static void end_body(struct connection *c, const char *body)
{
    char text[64];
    append(&output, text,
        (size_t) sprintf(text, "%zu %.8s%.8s\r\n", c->body, body, body + c->body - 8));
    c->body = 0;
}

/* Handle all that is complete in data[0:size]; returns how much that was. */
static size_t handle(struct connection *c, const char *data, size_t size)
{
    const char *begin = data, *end = data + size;
    while (begin < end) {
        if (c->body > 0) {
            if ((size_t) (end - begin) < c->body)
                break;
            const char *body = begin;
            begin += c->body;
            end_body(c, body);
            continue;
        }
        const char *found = begin;
        do
            found = memchr(found + 1, '\n', (size_t) (end - found - 1));
        while (found != NULL && found[-1] != '\r');
        if (found == NULL)
            break;
        handle_line(c, begin, (size_t) (found - 1 - begin));
        begin = found + 1;
    }
    return (size_t) (begin - data);
}

/* Send c->unsent or, where there is none, `output`. */
static bool send_replies(struct connection *c)
{
    const struct buffer *replies = c->unsent.size > 0 ? &c->unsent : &output;
    ssize_t count = send(c->fd, replies->data + c->sent, replies->size - c->sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN)
        return false;
    if (count > 0)
        c->sent += (size_t) count;
    bool is_done = c->sent == replies->size;
    if (is_done) {
        clear(&c->unsent);
        c->sent = 0;
    } else if (replies == &output) {
        append(&c->unsent, output.data + c->sent, output.size - c->sent);
        c->sent = 0;
    }
    wait_for_room(c, !is_done);
    return true;
}

static bool produce(struct connection *c)
{
    while (c->produced < c->size) {
        size_t at = c->produced % PIECE, size = PIECE - at;
        if (size > c->size - c->produced)
            size = c->size - c->produced;
        ssize_t count
            = send(c->fd, pieces[c->produced / PIECE % PIECES] + at, size, MSG_NOSIGNAL);
        if (count < 0)
            return errno == EAGAIN;
        c->produced += (size_t) count;
    }
    c->size = c->produced = 0;
    wait_for_room(c, false);
    return true;
}

static bool receive(struct connection *c)
{
    /* The rest of a body goes where it belongs, not through `input`. */
    bool in_place = c->body > 0;
    if (in_place && c->held.room < c->body) {
        c->held.room = c->body;
        c->held.data = realloc(c->held.data, c->held.room);
        if (c->held.data == NULL)
            die("realloc");
    }
    char *to = in_place ? c->held.data + c->held.size : input;
    ssize_t count = recv(c->fd, to, in_place ? c->body - c->held.size : sizeof input, 0);
    if (count < 0)
        return errno == EAGAIN;
    if (count == 0)
        return false;
    output.size = 0;
    if (in_place) {
        c->held.size += (size_t) count;
        if (handle(c, c->held.data, c->held.size) > 0)
            c->held.size = 0; /* its memory is kept for the next body */
    } else if (c->held.size > 0) {
        append(&c->held, input, (size_t) count);
        size_t done = handle(c, c->held.data, c->held.size);
        c->held.size -= done;
        memmove(c->held.data, c->held.data + done, c->held.size);
        if (c->held.size == 0 && c->body == 0)
            clear(&c->held);
    } else {
        size_t done = handle(c, input, (size_t) count);
        if (done < (size_t) count)
            append(&c->held, input + done, (size_t) count - done);
    }
    return output.size == 0 || send_replies(c);
}

static void take_connections(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (c == NULL)
            die("calloc");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

int main(int count, char **words)
{
    const char *service = count == 2 ? words[1] : "";
    if (strcmp(service, "echo") == 0)
        handle_line = echo_line;
    else if (strcmp(service, "ingest") == 0)
        handle_line = ingest_line;
    else if (strcmp(service, "bodies") == 0)
        handle_line = begin_body;
    else if (strcmp(service, "downloads") == 0)
        handle_line = begin_download;
    else {
        fprintf(stderr, "usage: limit echo|ingest|bodies|downloads\n");
        return 2;
    }
    for (int i = 0; i < PIECES; i++)
        for (int j = 0; j < PIECE; j++)
            pieces[i][j] = (char) (31 * i + j);

    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t size = sizeof here;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.ptr = NULL};
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (bind(listener, (struct sockaddr *) &here, size) < 0 || listen(listener, BACKLOG) < 0
        || getsockname(listener, (struct sockaddr *) &here, &size) < 0
        || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0)
        die("listen");
    printf("listening on 127.0.0.1:%d\n", ntohs(here.sin_port));
    fflush(stdout);

    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            bool lives = true;
            if (c == NULL)
                take_connections(listener);
            else if (!c->waits_for_room)
                lives = receive(c);
            else if (c->size > 0)
                lives = produce(c);
            else
                lives = send_replies(c);
            if (!lives)
                drop(c);
        }
    }
}
