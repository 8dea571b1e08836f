/* libmemcached's own look-up: libmemcached ketama|ketama_weighted HOST:PORT:WEIGHT... <KEYS, one a line; prints the place
   of each key's server among the arguments. */
#include <libmemcached-1.0/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    memcached_st *client = memcached_create(NULL);
    int weighted = strcmp(argv[1], "ketama_weighted") == 0;
    memcached_behavior_set(client, weighted ? MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED : MEMCACHED_BEHAVIOR_KETAMA, 1);
    for (int i = 2; i < argc; i++) {
        char host[256];
        unsigned port, weight;
        if (sscanf(argv[i], "%255[^:]:%u:%u", host, &port, &weight) != 3) return 2;
        if (memcached_server_add_with_weight(client, host, port, weight) != MEMCACHED_SUCCESS) return 1;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0)
        printf("%u\n", memcached_generate_hash(client, line, length - 1));
    return 0;
}
