/* What runs in the new root before the first task: the image's /etc/rc, which leaves its variables and folder. */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Variables of the job that do not reach Enroot; the rest are one task's own. */
static const char *const kept_back[] = {
    "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_TASK_PID", "PMIX_RANK",
    "PMI_FD", "LANG", "LANGUAGE", "LC_ALL", "ENROOT_LIBRARY_PATH", "ENROOT_SYSCONF_PATH", "ENROOT_RUNTIME_PATH", "ENROOT_CACHE_PATH",
    "ENROOT_DATA_PATH", "ENROOT_TEMP_PATH", "ENROOT_ZSTD_OPTIONS", "ENROOT_TRANSFER_RETRIES",
    "ENROOT_CONNECT_TIMEOUT", "ENROOT_MAX_CONNECTIONS", "ENROOT_ALLOW_HTTP", NULL,
};

char *env_value(char **env, const char *name)
{
    size_t length = strlen(name);
    for (char **one = env; one != NULL && *one != NULL; one++)
        if (strncmp(*one, name, length) == 0 && (*one)[length] == '=')
            return *one + length + 1;
    return NULL;
}

static bool is_yes(const char *text)
{
    const char *words[] = {"1", "y", "yes", "t", "true"};
    for (int i = 0; i < 5; i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    return false;
}

void settings_from_job(char **env)
{
    const struct { const char *name; int *setting; } known[] = {
        {"ENROOT_MOUNT_HOME", &site.mount_home}, {"ENROOT_REMAP_ROOT", &site.remap_root},
        {"ENROOT_ROOTFS_WRITABLE", &site.rootfs_writable},
    };
    for (int i = 0; i < 3; i++) {
        const char *value = env_value(env, known[i].name);
        if (value != NULL)
            *known[i].setting = is_yes(value);
    }
}

static void set_line(const char *line)
{
    const char *sign = strchr(line, '=');
    char *name = sign ? strndup(line, sign - line) : NULL;
    if (name != NULL && *name)
        setenv(name, sign + 1, 1);
    free(name);
}

/* The environment of this process becomes the one that Enroot starts a container with. */
static void set_environment(const struct job *job)
{
    char line[1 << 16];
    bool as_root = asked.remap_root == -1 ? site.remap_root : asked.remap_root;
    clearenv();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    for (char **one = job->env; *one != NULL; one++) {
        int i = 0;
        while (kept_back[i] != NULL
               && (strncmp(*one, kept_back[i], strlen(kept_back[i])) || (*one)[strlen(kept_back[i])] != '='))
            i++;
        if (kept_back[i] == NULL)
            set_line(*one);
    }
    FILE *file = fopen("/etc/environment", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (*line != '#')
            set_line(line);
    }
    if (file != NULL)
        fclose(file);
    setenv("HOME", as_root ? "/root" : job->home, 1);
    for (int i = 0; i < asked.env_count; i++) {
        char *value = env_value(job->env, asked.env[i]);
        if (value != NULL && *value)
            setenv(asked.env[i], value, 1);
    }
}

/* What the hook 50-slurm-pytorch.sh adds for an image of PyTorch. */
static void set_pytorch(const struct job *job)
{
    char text[64];
    char *id = env_value(job->env, "SLURM_JOB_ID"), *tasks = env_value(job->env, "SLURM_NTASKS");
    char *nodes = env_value(job->env, "SLURM_STEP_NUM_NODES"), *all = env_value(job->env, "SLURM_STEP_NUM_TASKS");
    if (getenv("PYTORCH_VERSION") == NULL)
        return;
    setenv("MASTER_ADDR", "localhost", 0);
    snprintf(text, sizeof(text), "%d", (id ? atoi(id) : 0) % 4536 + 61000);
    setenv("MASTER_PORT", text, 0);
    if (tasks != NULL)
        setenv("WORLD_SIZE", tasks, 0);
    if (all != NULL && nodes != NULL && atoi(all) > atoi(nodes))
        setenv("OMP_NUM_THREADS", "1", 0);
}

static void become_shell(int log)
{
    const char *shells[] = {"/bin/bash", "/bin/sh"};
    char *stop = "kill -STOP $$ ; exit 0", *with_rc[] = {"-sh", "/etc/rc", "sh", "-c", stop, NULL};
    char *without[] = {"-sh", "-c", stop, NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    bool rc = access("/etc/rc", F_OK) == 0;
    for (int i = 0; i < 2; i++)
        execv(shells[i], rc ? with_rc : without);
    dprintf(2, "enroot-switchroot: failed to execute: /bin/bash: %s\n", strerror(errno));
    _exit(1);
}

static int copy_environ(pid_t pid, int to, char *folder, size_t size)
{
    char path[64], block[4096];
    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;
    while (from >= 0 && (got = read(from, block, sizeof(block))) > 0)
        if (write(to, block, got) != got)
            break;
    if (from >= 0)
        close(from);
    snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
    ssize_t length = readlink(path, folder, size - 1);
    if (got != 0 || length < 0)
        return -1;
    folder[length] = '\0';
    return 0;
}

int start(const struct job *job, int environ_fd, char *folder, size_t size)
{
    int log = memfd_create("enroot-log", MFD_CLOEXEC), status = 0, result = -1;
    pid_t pid = fork();
    if (pid == 0) {
        set_environment(job);
        set_pytorch(job);
        become_shell(log);
    }
    while (pid > 0 && waitpid(pid, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
    told_file(log);
    close(log);
    if (pid > 0 && WIFSTOPPED(status)) {
        told_done((asked.entrypoint == -1 ? site.execute_entrypoint : asked.entrypoint) && asked.entrypoint_log == 1);
        result = copy_environ(pid, environ_fd, folder, size);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return result;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return start_failed(WEXITSTATUS(status), "%s", "");
    slurm_error("pyxis: container exited too soon");
    return -1;
}
