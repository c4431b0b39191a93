/* What is mounted in the root of a container: what Enroot always mounts, its hooks, and what was asked for. */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A path inside the root; links lead nowhere outside it. */
static int inside(int root, const char *path, int flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    return syscall(SYS_openat2, root, path, &how, sizeof(how));
}

static int made_inside(int root, const char *path, bool folder);

/* Makes the last part of a path; where a link leads to nothing, makes what it leads to, inside the root. */
static int made_one(int root, int parent, const char *path, const char *name, bool folder)
{
    char link[PATH_SIZE], target[2 * PATH_SIZE];
    ssize_t length = readlinkat(parent, name, link, sizeof(link) - 1);
    if (length >= 0) {
        link[length] = '\0';
        size_t before = *link == '/' ? 0 : strlen(path) - strlen(name);
        snprintf(target, sizeof(target), "%.*s%s", (int)before, path, link);
        return made_inside(root, target, folder);
    }
    /* Never through a link: it would lead out of the root. */
    int file = folder ? -1 : openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file >= 0)
        close(file);
    if (folder)
        mkdirat(parent, name, 0755);
    return inside(root, path, O_PATH);
}

/* Opens a path inside the root, and makes it, a folder or a file, where it is missing. */
static int made_inside(int root, const char *path, bool folder)
{
    char part[PATH_SIZE];
    int parent = inside(root, "/", O_PATH), fd = -1;
    snprintf(part, sizeof(part), "%s", path);
    for (char *at = part; parent >= 0;) {
        at += strspn(at, "/");
        size_t length = strcspn(at, "/");
        bool last = at[length + strspn(at + length, "/")] == '\0';
        char name[PATH_SIZE], kept = at[length];
        if (length == 0)
            return parent;
        snprintf(name, sizeof(name), "%.*s", (int)length, at);
        at[length] = '\0';
        fd = inside(root, part, O_PATH);
        if (fd < 0 && errno == ENOENT) {
            fd = made_one(root, parent, part, name, folder || !last);
        }
        at[length] = kept;
        at += length;
        close(parent);
        parent = fd;
        if (last)
            break;
    }
    return fd;
}

static const struct { const char *name; unsigned long flag; int kind; } words[] = {
    {"ro", MS_RDONLY, 0}, {"nosuid", MS_NOSUID, 0}, {"nodev", MS_NODEV, 0}, {"noexec", MS_NOEXEC, 0},
    {"bind", MS_BIND, 1}, {"rbind", MS_BIND | MS_REC, 1}, {"private", MS_PRIVATE, 2},
    {"rprivate", MS_PRIVATE | MS_REC, 2}, {"slave", MS_SLAVE, 2}, {"rslave", MS_SLAVE | MS_REC, 2},
    {"shared", MS_SHARED, 2}, {"rshared", MS_SHARED | MS_REC, 2}, {"rw", 0, 3}, {"nofail", 0, 4}, {"silent", 0, 4},
    {"x-create=auto", 0, 4}, {"x-create=dir", 0, 4}, {"x-create=file", 0, 4}, {"x-detach", 0, 4},
};

struct flags {
    unsigned long set, bind, spread;
    char data[512]; /* what mount(2) does not know: for tmpfs its options, for the rest nothing */
};

static struct flags read_flags(const char *text)
{
    struct flags it = {0};
    char copy[PATH_SIZE], *rest = copy, *one;
    snprintf(copy, sizeof(copy), "%s", text);
    while ((one = strsep(&rest, ",")) != NULL) {
        size_t i = 0;
        while (i < sizeof(words) / sizeof(words[0]) && strcmp(one, words[i].name) != 0)
            i++;
        if (i == sizeof(words) / sizeof(words[0])) {
            if (strlen(it.data) + strlen(one) + 2 < sizeof(it.data) && *one)
                strcat(strcat(it.data, *it.data ? "," : ""), one);
        } else if (words[i].kind == 0)
            it.set |= words[i].flag;
        else if (words[i].kind == 1)
            it.bind |= words[i].flag;
        else if (words[i].kind == 2)
            it.spread = words[i].flag;
        else if (words[i].kind == 3)
            it.set &= ~(unsigned long)MS_RDONLY;
    }
    return it;
}

/* The flags that a mount has and that nobody in a user namespace may take off again. */
unsigned long mount_locked(const char *path)
{
    struct statvfs about;
    unsigned long flags = 0;
    const struct { unsigned long has, keep; } pairs[] = {
        {ST_RDONLY, MS_RDONLY}, {ST_NOSUID, MS_NOSUID}, {ST_NODEV, MS_NODEV}, {ST_NOEXEC, MS_NOEXEC},
        {ST_NOATIME, MS_NOATIME}, {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME},
    };
    if (statvfs(path, &about) == 0)
        for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
            if (about.f_flag & pairs[i].has)
                flags |= pairs[i].keep;
    return flags;
}

static int mount_bind(int root, const char *source, const char *target, int fd, const struct flags *how)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (mount(source, path, NULL, how->bind, NULL) < 0)
        return errno;
    int top = inside(root, target, O_PATH), error = 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", top);
    if (how->set && mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | how->set | mount_locked(path), NULL) < 0)
        error = errno;
    if (how->spread && mount(NULL, path, NULL, how->spread, NULL) < 0 && error == 0)
        error = errno;
    close(top);
    return error;
}

static int mount_one(int root, const char *source, const char *target, const char *flags)
{
    struct flags how = read_flags(flags);
    struct stat about;
    char path[64];
    int error = 0;
    if (strcmp(source, "umount") == 0) {
        int fd = inside(root, target, O_PATH);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        error = fd < 0 || umount2(path, MNT_DETACH) < 0 ? errno : 0;
        if (fd >= 0)
            close(fd);
        return error;
    }
    bool tmpfs = strcmp(source, "tmpfs") == 0;
    if (!tmpfs && stat(source, &about) < 0)
        return errno;
    int fd = made_inside(root, target, tmpfs || S_ISDIR(about.st_mode));
    if (fd < 0)
        return errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (tmpfs)
        error = mount("tmpfs", path, "tmpfs", how.set, how.data) < 0 ? errno : 0;
    else
        error = mount_bind(root, source, target, fd, &how);
    close(fd);
    return error;
}

/* What Enroot always mounts. */
static int mount_system(int root)
{
    const struct { const char *path, *flags; bool tmpfs; } fixed[] = {
        {"/proc", "rbind,nosuid,nodev,noexec,rslave", false}, {"/sys", "rbind,ro,nosuid,nodev,noexec,rslave", false},
        {"/dev", "rbind,nosuid,noexec,rslave", false},        {"/tmp", "nosuid,nodev,mode=755", true},
        {"/var/run", "nosuid,nodev,mode=755", true},          {"/var/lock", "nosuid,nodev,mode=755", true},
        {"/etc/hosts", "bind,ro,nosuid,nodev,noexec", false}, {"/etc/hostname", "bind,ro,nosuid,nodev,noexec", false},
        {"/etc/resolv.conf", "bind,ro,nosuid,nodev,noexec", false},
        {"/etc/machine-id", "bind,ro,nosuid,nodev,noexec", false},
    };
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        int error = mount_one(root, fixed[i].tmpfs ? "tmpfs" : fixed[i].path, fixed[i].path, fixed[i].flags);
        /* A machine may lack a file; without the rest there is no container. */
        if (error != 0 && i < 4)
            return start_failed(1, "enroot-mount: failed to mount: %s: %s", fixed[i].path, strerror(error));
    }
    return 0;
}

/* The user, root and nobody stand first in the image's own list of users. */
static void write_names(int root, const struct job *job, const char *home, const char *file, bool users)
{
    char line[PATH_SIZE], path[64];
    int old = inside(root, file, O_RDONLY);
    size_t used = 0;
    char *kept = calloc(1, 1 << 18);
    FILE *from = old < 0 ? NULL : fdopen(old, "r");
    while (kept != NULL && from != NULL && fgets(line, sizeof(line), from) != NULL && used < (1 << 18) - PATH_SIZE)
        if (strncmp(line, "root:", 5) && strncmp(line, "nobody:", 7) && strncmp(line, "nogroup:", 8)
            && (strncmp(line, job->user, strlen(job->user)) || line[strlen(job->user)] != ':'))
            used += sprintf(kept + used, "%s", line);
    if (from != NULL)
        fclose(from);
    int fd = made_inside(root, file, false);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    FILE *to = fopen(path, "we");
    if (to != NULL) {
        if (users) {
            fprintf(to, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n");
            if (job->uid != 0)
                fprintf(to, "%s:x:%u:%u::%s:/bin/sh\n", job->user, job->uid, job->gid, home);
        } else {
            fprintf(to, "root:x:0:\nnogroup:x:65534:\n");
            if (job->gid != 0)
                fprintf(to, "%s:x:%u:\n", job->user, job->gid);
        }
        fputs(kept ? kept : "", to);
        fclose(to);
    }
    free(kept);
    if (fd >= 0)
        close(fd);
}

/* The home: the user's own where it is asked for, else a new one inside the image. */
static int mount_home(int root, const struct job *job, bool as_root)
{
    const char *home = as_root ? "/root" : job->home;
    if (!(asked.mount_home == -1 ? site.mount_home : asked.mount_home)) {
        int fd = made_inside(root, home, true);
        if (fd >= 0)
            close(fd);
        return 0;
    }
    int error = mount_one(root, job->home, home, "bind,nosuid");
    return error ? start_failed(1, "enroot-mount: failed to mount: %s: %s", job->home, strerror(error)) : 0;
}

static int mount_hooks(int root, const struct job *job)
{
    char *pmix = env_value(job->env, "PMIX_SERVER_TMPDIR");
    if (pmix != NULL)
        mount_one(root, pmix, pmix, "bind,nosuid,noexec,nodev,private");
    for (int i = 0; i < site.shown_count; i++) {
        char path[PATH_SIZE], *mark = strstr(site.shown[i], "%n");
        snprintf(path, sizeof(path), "%.*s%s%s", mark ? (int)(mark - site.shown[i]) : (int)strlen(site.shown[i]),
                 site.shown[i], mark ? job->node : "", mark ? mark + 2 : "");
        mount_one(root, path, path, "bind");
    }
    return 0;
}

static int mount_asked(int root, const char *root_path)
{
    for (int i = 0; i < asked.mount_count; i++) {
        const struct mount *one = &asked.mounts[i];
        char source[PATH_SIZE];
        /* Before 0.24 the line for Enroot was not quoted: a space ended the path. */
        snprintf(source, sizeof(source), "%.*s", site.pyxis < 24 ? (int)strcspn(one->source, " ") : PATH_SIZE - 1,
                 one->source);
        int error = mount_one(root, source, one->target, one->flags);
        bool nofail = strstr(one->flags, "nofail") != NULL;
        if (error != 0 && !nofail)
            return start_failed(1, "enroot-mount: failed to mount: %s at %s%s: %s", source, root_path, one->target,
                                strerror(error));
    }
    return 0;
}

static void no_entrypoint(int root)
{
    char path[64];
    int fd = made_inside(root, "/etc/rc.local", false);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int file = fd < 0 ? -1 : open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (file >= 0) {
        if (write(file, "exec \"$@\"\n", 10) < 0)
            told("[WARN] /etc/rc.local cannot be written");
        close(file);
    }
    if (fd >= 0)
        close(fd);
}

int mounts_fill(int root, const char *path, const struct job *job, bool as_root)
{
    bool entrypoint = asked.entrypoint == -1 ? site.execute_entrypoint : asked.entrypoint;
    if (mount_system(root) < 0)
        return -1;
    write_names(root, job, job->home, "/etc/passwd", true);
    write_names(root, job, job->home, "/etc/group", false);
    if (!entrypoint)
        no_entrypoint(root);
    return mount_home(root, job, as_root) < 0 || mount_hooks(root, job) < 0 ? -1 : mount_asked(root, path);
}
