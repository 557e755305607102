/* `weir import nginx|haproxy FILE`: the configuration of another proxy as one of weir's, on standard output;
 * what was left, and what is to be known, on standard error and as comments at the end. 0 when all was
 * converted, 2 when something was left, 1 when the file cannot be read. */
#pragma once

int command_import(const char *from, const char *file);
