/* Loaded before the C library: the time of day is so many seconds from the right one. The time since boot stays. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	static long ahead;

	if (!real) {
		const char *text = getenv("CLOCK_AHEAD_S");

		ahead = text ? atol(text) : 0;
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	}
	int failed = real(id, now);
	if (!failed && id == CLOCK_REALTIME)
		now->tv_sec += ahead;
	return failed;
}
