/* The terminal while `weir top` has it: another screen without a cursor, keys one by one and not shown. It is
 * given back as it was by terminal_close(), by every signal that ends the program, and while the program is
 * stopped (SIGTSTP). One at a time in a process. */
#pragma once

#include <stdio.h>

/* 0, or -1 with errno: standard output is no terminal. Keys need standard input to be one too. */
int terminal_open(void);
void terminal_close(void);

void terminal_size(unsigned *width, unsigned *height);

/* Replaces what the screen shows. */
void terminal_show(const char *text, size_t len);

/* A key, or 0 after `ms` without one or when the terminal was resized; -1 when no more will come. */
int terminal_key(int ms);
