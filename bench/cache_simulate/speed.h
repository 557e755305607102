/* How long the steps of each policy take. */
#pragma once

/* Prints a table: nanoseconds a step, the best of several rounds, one thread. */
void speed_print(void);
