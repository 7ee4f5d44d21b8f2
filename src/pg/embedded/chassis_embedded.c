/*
 * chassis_embedded.c
 *	  Stops a server that nobody uses any more.
 *
 * The Python package starts a private server beside a user's files, and the
 * last process that closes it stops it.  Processes that are killed close
 * nothing; then this library's background worker, the watcher, does it.
 *
 * Who uses the server is known by a file lock: each such process shares
 * chassis.users_lock for as long as it does, and the kernel drops the share
 * however the process ends.  The watcher tries once a second to have the lock
 * for itself.  If it gets it, there is no user.  It then keeps the lock, so
 * that whoever comes now waits until the server has ended and starts another,
 * and asks the postmaster for a fast shutdown.
 *
 * A library of its own, because only servers started by the package preload
 * it: chassis.so, which any server may load, has no background worker.  It
 * knows nothing of vectors or indexes.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

/* fmgr.h declares it only from 15 on */
extern PGDLLEXPORT void _PG_init(void);
extern PGDLLEXPORT void chs_embedded_watch(Datum main_arg);

/* How often the lock is tried; what a killed user's server outlives it by. */
#define CHS_WATCH_INTERVAL_MS 1000

/*
 * So many tries in a row must find no user.  One is not enough: a process that
 * forks gives up the share it inherited before it takes its own.
 */
#define CHS_WATCH_TRIES 2

static char *users_lock_path = NULL;
static int linger_seconds = 0;

/*
 * Opens the lock file; -1 when there is none.  It is not made here: that would
 * come in the way of somebody who is removing the directory.
 */
static int
open_users_lock(void)
{
	int fd = open(users_lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", users_lock_path)));
	return fd;
}

/* Whether the file was removed since it was opened. */
static bool
is_removed(int fd)
{
	struct stat status;

	return fstat(fd, &status) != 0 || status.st_nlink == 0;
}

/*
 * Seconds since there was a user: since one was last met, or since one came and
 * went between two tries, for each of them touches the file when it comes.
 */
static double
idle_seconds(int fd, time_t last_met)
{
	struct stat status;
	time_t last = last_met;

	if (fstat(fd, &status) == 0)
		last = Max(last, status.st_mtime);
	return difftime(time(NULL), last);
}

/*
 * Tries the lock.  True when there is no user, and then it is held; a false
 * result leaves it free.
 */
static bool
try_users_lock(int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno != EWOULDBLOCK && errno != EINTR)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not lock file \"%s\": %m", users_lock_path)));
	return false;
}

/*
 * Sleeps for one interval, or until told to end.  Does not return when the
 * postmaster is gone.
 */
static void
wait_one_interval(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 CHS_WATCH_INTERVAL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Asks for a shutdown, and waits for it with the lock held.  The signal is
 * sent again each interval: the postmaster may be in the middle of restarting
 * after a crash.
 */
static void
stop_server(int signal_number)
{
	while (!ShutdownRequestPending)
	{
		kill(PostmasterPid, signal_number);
		wait_one_interval();
	}
}

/*
 * Whether there is no user now.  *fd is the lock file; it is opened anew when
 * it was removed, for users that come later open the file of that name and not
 * the one that we have.  With no file of that name there is no user either, or
 * none that could be told from none.  If there is a file, it stays locked when
 * the result is true.
 */
static bool
find_no_user(int *fd)
{
	if (*fd >= 0 && is_removed(*fd))
	{
		close(*fd);
		*fd = -1;
	}
	if (*fd < 0)
		*fd = open_users_lock();
	return *fd < 0 || try_users_lock(*fd);
}

/* Watches until the server is to end; returns when this worker is. */
static void
watch(void)
{
	int fd = -1;
	int free_in_a_row = 0;
	time_t last_met = time(NULL);

	while (!ShutdownRequestPending)
	{
		if (!find_no_user(&fd))
		{
			free_in_a_row = 0;
			last_met = time(NULL);
		}
		else if (++free_in_a_row >= CHS_WATCH_TRIES &&
				 (fd < 0 || idle_seconds(fd, last_met) >= linger_seconds))
		{
			ereport(LOG, (errmsg("no user is left, stopping the server")));
			/* without its directory there is nothing to write out to */
			stop_server(access("PG_VERSION", F_OK) == 0 ? SIGINT : SIGQUIT);
			return;
		}
		else if (fd >= 0)
			(void) flock(fd, LOCK_UN);
		wait_one_interval();
	}
}

/*
 * The worker's entry point.  It ends with status 1, which the postmaster
 * answers with a new one after a second, unless it is shutting down itself.
 */
void
chs_embedded_watch(Datum main_arg)
{
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	watch();
	proc_exit(1);
}

static void
define_settings(void)
{
	DefineCustomStringVariable(
		"chassis.users_lock",
		"File that each user of an embedded server holds a shared lock on.",
		"A path relative to the data directory. The server is stopped when "
		"nobody holds the lock any more. Empty: it is never stopped.",
		&users_lock_path, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"chassis.linger",
		"How long an embedded server stays after its last user left.",
		"With zero it is stopped as soon as that is noticed.", &linger_seconds,
		0, 0, 7 * 24 * 3600, PGC_POSTMASTER, GUC_UNIT_S, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("chassis_embedded must be loaded by "
							   "\"shared_preload_libraries\"")));
	define_settings();
	if (users_lock_path == NULL || users_lock_path[0] == '\0')
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	/* recovery included: its users may be killed while it runs */
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name),
			 "chassis_embedded");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name),
			 "chs_embedded_watch");
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "chassis watcher");
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "chassis watcher");
	RegisterBackgroundWorker(&worker);
}
