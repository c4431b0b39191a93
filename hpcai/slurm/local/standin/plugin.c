/* What Slurm calls: in srun, sbatch and salloc the options; on a node each task's way into its container. */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

SPANK_PLUGIN(pyxis_standin, 1)

/* What the tasks of one step on one node tell each other. */
struct shared {
    pthread_mutex_t lock;
    int arrived, joined, ended;
    pid_t inside; /* a process whose namespaces are the container's; 0 before, -1 when it failed */
    bool refused; /* before anything was made: then one task's words are enough */
    char folder[PATH_SIZE];
    struct container container;
};

static struct {
    bool enters, failed;
    uint32_t job, step, tasks, total;
    int environ_fd;
    char folder[PATH_SIZE];
    struct shared *shared;
} here;

int slurm_spank_init(spank_t spank, int count, char **words)
{
    site_read(count, words);
    spank_context_t context = spank_context();
    if (context == S_CTX_LOCAL || context == S_CTX_REMOTE || (context == S_CTX_ALLOCATOR && site.sbatch_support))
        return options_register(spank);
    return 0;
}

int slurm_spank_init_post_opt(spank_t spank, int count, char **words)
{
    (void)count;
    (void)words;
    spank_context_t context = spank_context();
    if (context != S_CTX_LOCAL && context != S_CTX_ALLOCATOR && context != S_CTX_REMOTE)
        return 0;
    options_from_environment(spank);
    bool enters = options_enter_a_container();
    here.enters = context == S_CTX_REMOTE && enters;
    return 0;
}

static void share(void)
{
    pthread_mutexattr_t how;
    here.shared = mmap(NULL, sizeof(*here.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    here.environ_fd = memfd_create("environ", MFD_CLOEXEC);
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&here.shared->lock, &how);
}

/* Errors here never reach srun: they are kept for the tasks. */
int slurm_spank_user_init(spank_t spank, int count, char **words)
{
    (void)count;
    (void)words;
    if (!here.enters)
        return 0;
    share();
    spank_get_item(spank, S_JOB_ID, &here.job);
    spank_get_item(spank, S_JOB_STEPID, &here.step);
    spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &here.tasks);
    spank_get_item(spank, S_JOB_TOTAL_TASK_COUNT, &here.total);
    if (spank_getenv(spank, "PWD", here.folder, sizeof(here.folder)) != ESPANK_SUCCESS)
        here.folder[0] = '\0';
    if (here.step == SLURM_BATCH_SCRIPT) {
        int argc = 0;
        char **argv = NULL;
        spank_get_item(spank, S_JOB_ARGV, &argc, &argv);
        here.failed = argc == 0 || mount_add(argv[0], argv[0], "x-create=file,bind,ro,nosuid,nodev,private") < 0;
    }
    return 0;
}

static int enter_first(const struct job *job)
{
    struct container *it = &here.shared->container;
    here.shared->refused = container_find(it, job->node, here.job, here.step) < 0;
    if (here.shared->refused)
        return -1;
    if (it->running != 0 && asked.mount_count > 0) {
        slurm_spank_log("pyxis: ignoring --container-mounts when attaching to a running container");
        asked.mount_count = 0;
    }
    /* One task is likely somebody who waits at a terminal; 0 is the batch script. */
    if (container_create(it, job->node, here.total <= 1) < 0)
        return -1;
    int running = container_open_running(it);
    if ((it->running != 0 ? root_join(it->running) : root_enter_new(it, job)) < 0)
        return -1;
    if (start(job, here.environ_fd, here.shared->folder, sizeof(here.shared->folder)) < 0)
        return -1;
    container_mark_running(running);
    here.shared->inside = getpid();
    return 0;
}

static int enter(const struct job *job)
{
    int result = -1;
    if (pthread_mutex_lock(&here.shared->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&here.shared->lock);
    bool first = here.shared->arrived++ == 0;
    if (first) {
        here.shared->inside = -1;
        result = enter_first(job);
    } else if (here.shared->inside < 0) {
        if (!here.shared->refused)
            slurm_error("pyxis: container was not started successfully by another task");
    } else {
        int running = container_open_running(&here.shared->container);
        result = root_join(here.shared->inside);
        if (result == 0)
            container_mark_running(running);
    }
    here.shared->joined++;
    pthread_mutex_unlock(&here.shared->lock);
    return result;
}

/* The namespaces are those of the first task: it stays until the others have joined it. */
static void wait_for_others(void)
{
    const struct timespec moment = {0, 2000000};
    for (int i = 0; here.shared->inside == getpid() && i < 5000; i++) {
        if (__atomic_load_n(&here.shared->joined, __ATOMIC_ACQUIRE) >= (int)here.tasks)
            return;
        nanosleep(&moment, NULL);
    }
}

static void take_environment(spank_t spank)
{
    const char *locale[] = {"LANG", "LANGUAGE", "LC_ALL"};
    for (int i = 0; i < 3; i++)
        if (!named_in_env(locale[i]))
            spank_unsetenv(spank, locale[i]);
    off_t size = lseek(here.environ_fd, 0, SEEK_END);
    char *all = malloc(size + 1);
    if (all == NULL || pread(here.environ_fd, all, size, 0) != size)
        return;
    all[size] = '\0';
    for (char *one = all; one < all + size; one += strlen(one) + 1) {
        char *sign = strchr(one, '=');
        if (sign == NULL)
            continue;
        *sign = '\0';
        spank_setenv(spank, one, sign + 1, !named_in_env(one));
        *sign = '=';
    }
    char text[256];
    if (spank_getenv(spank, "PYTORCH_VERSION", text, sizeof(text)) == ESPANK_SUCCESS) {
        if (spank_getenv(spank, "SLURM_PROCID", text, sizeof(text)) == ESPANK_SUCCESS)
            spank_setenv(spank, "RANK", text, 1);
        if (spank_getenv(spank, "SLURM_LOCALID", text, sizeof(text)) == ESPANK_SUCCESS)
            spank_setenv(spank, "LOCAL_RANK", text, 1);
    }
    free(all);
}

int slurm_spank_task_init(spank_t spank, int count, char **words)
{
    (void)count;
    (void)words;
    if (!here.enters)
        return 0;
    if (here.failed)
        return -1;
    struct job job = {.uid = getuid(), .gid = getgid()};
    struct passwd *user = getpwuid(job.uid);
    job.user = strdup(user ? user->pw_name : "user");
    spank_get_item(spank, S_JOB_ENV, &job.env);
    settings_from_job(job.env);
    job.node = env_value(job.env, "SLURMD_NODENAME");
    job.node = strdup(job.node ? job.node : "node");
    char *home = env_value(job.env, "HOME");
    job.home = strdup(home ? home : user ? user->pw_dir : "/");
    int result = enter(&job);
    if (result == 0)
        take_environment(spank);
    const char *folder = asked.workdir ? asked.workdir : here.shared->folder;
    if (result == 0 && chdir(folder) < 0) {
        slurm_error("pyxis: couldn't chdir to %s%s: %s", asked.workdir ? "" : "container cwd ", folder, strerror(errno));
        result = -1;
    }
    wait_for_others();
    return result;
}

int slurm_spank_task_exit(spank_t spank, int count, char **words)
{
    (void)spank;
    (void)count;
    (void)words;
    if (!here.enters || here.shared == NULL || ++here.shared->ended < (int)(here.tasks ? here.tasks : 1))
        return 0;
    /* Slurm passes over what is returned from here: the step ends as its tasks did. */
    int result = 0;
    if (asked.save != NULL && here.shared->inside > 0)
        result = container_save(&here.shared->container, here.folder);
    if (here.shared->container.folder[0] && !here.shared->container.lasts)
        container_remove(&here.shared->container);
    return result;
}
