/*
 * A stand-in for Pyxis and Enroot, for the embedded cluster: the same options, checks, silences and words,
 * written from their public description. docs/fidelity.md says where it differs.
 */
#pragma once

#include <slurm/spank.h>
#include <slurm/slurm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PATH_SIZE 4096
#define MOST 256

struct mount {
    char *source, *target, *flags;
};

/* What the user asked for; -1 where nothing was said. */
struct asked {
    char *image, *workdir, *name, *flag, *save;
    struct mount mounts[MOST];
    int mount_count;
    int mount_home, remap_root, entrypoint, entrypoint_log, writable;
    int net, ipc, uts;
    char *env[MOST];
    int env_count;
};

/* What plugstack.conf says: Pyxis's own words, Enroot's settings, and the places of the embedded cluster. */
struct site {
    int pyxis, enroot; /* 24 is 0.24; 35 is 3.5, 40 is 4.0 */
    int execute_entrypoint, scope_job, sbatch_support;
    int rootfs_writable, mount_home, remap_root;
    char *data, *registry, *tools;
    char *shown[MOST];
    int shown_count;
};

extern struct asked asked;
extern struct site site;

/* options.c */
int site_read(int count, char **words);
int options_register(spank_t spank);
void options_from_environment(spank_t spank);
bool options_enter_a_container(void);
int mount_add(const char *source, const char *target, const char *flags);
bool named_in_env(const char *variable);

/* image.c: a container's files on this node, before anything is mounted. */
struct container {
    char name[PATH_SIZE];   /* pyxis_NAME, or pyxis_JOB.STEP for one without a name */
    char folder[PATH_SIZE]; /* holds lower (a link), upper, work, root, running */
    bool lasts;             /* whether it outlives the step */
    bool exists;
    pid_t running;          /* a process inside it, 0 if none is */
};
int container_find(struct container *it, const char *node, unsigned job, unsigned step);
int container_create(struct container *it, const char *node, bool tell);
/* A task opens the list of those inside before it enters, and stands in it only when it has. */
int container_open_running(const struct container *it);
void container_mark_running(int running);
int container_save(const struct container *it, const char *folder);
void container_remove(const struct container *it);

/* root.c: the namespaces of a task. */
struct job {
    char **env;
    const char *node, *user, *home;
    uid_t uid;
    gid_t gid;
};
int root_enter_new(const struct container *it, const struct job *job);
int root_join(pid_t other);
int overlay(const struct container *it);
int new_namespaces(int more, bool as_root, const char **step);
const char *why_refused(const char *step, int error);

/* mounts.c: what is in the root. */
int mounts_fill(int root, const char *path, const struct job *job, bool as_root);
unsigned long mount_locked(const char *path);

/* start.c: what runs in the new root before the first task does. */
int start(const struct job *job, int environ_fd, char *folder, size_t size);
char *env_value(char **env, const char *name);
/* Of Enroot's own settings these three may come with the job; a flag of Pyxis wins. */
void settings_from_job(char **env);

/* A container that did not start, with what Enroot wrote. */
int start_failed(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The lines of what Enroot wrote. */
void told(const char *format, ...) __attribute__((format(printf, 1, 2)));
void told_file(int fd);
/* They are not needed: shown where somebody asked for them. */
void told_done(bool show);
