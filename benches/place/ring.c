// Placement as plain C has it: getline, OpenSSL's MD5, sorted points and binary search.
// ring NODE... <KEYS prints a line a key: the key, its position, its owner, and the first of its preference list.
#define _GNU_SOURCE
#include <openssl/md5.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { uint32_t position; const char *node; } Point;

static int by_position(const void *one, const void *two) {
    uint32_t a = ((const Point *)one)->position, b = ((const Point *)two)->position;
    return (a > b) - (a < b);
}

static uint32_t word(const unsigned char *digest, int n) {
    const unsigned char *at = digest + 4 * n;
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

int main(int count, char **nodes) {
    unsigned char digest[16];
    Point *points = malloc(sizeof *points * 120 * count);
    int all = 0;
    for (int node = 1; node < count; node++) {
        for (int j = 0; j < 40; j++) {
            char label[256];
            int length = snprintf(label, sizeof label, "%s-%d", nodes[node], j);
            MD5((unsigned char *)label, length, digest);
            for (int n = 0; n < 3; n++) points[all++] = (Point){word(digest, n), nodes[node]};
        }
    }
    qsort(points, all, sizeof *points, by_position);
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n') line[--length] = 0;
        MD5((unsigned char *)line, length, digest);
        uint32_t position = word(digest, 0);
        int from = 0, to = all;
        while (from < to) {
            int middle = (from + to) / 2;
            if (points[middle].position <= position) from = middle + 1;
            else to = middle;
        }
        const char *owner = points[from == all ? 0 : from].node;
        printf("%s\t%u\t%s\t%s\n", line, position, owner, owner);
    }
}
