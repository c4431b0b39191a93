/* The root that a task sees: user and mount namespaces and an overlay over the image; mounts.c fills it. */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    return error;
}

static int setting(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (read(fd, text, sizeof(text) - 1) < 0)
        text[0] = '\0';
    close(fd);
    return atoi(text);
}

const char *why_refused(const char *step, int error)
{
    static char line[512];
    const char *why = "this machine, or the container that it is, allows no user namespaces: start that container "
                      "with --security-opt seccomp=unconfined, or use another machine";
    if (setting("/proc/sys/user/max_user_namespaces") == 0 || error == ENOSPC)
        why = "user.max_user_namespaces leaves no room: sysctl -w user.max_user_namespaces=10000";
    else if (setting("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        why = "kernel.unprivileged_userns_clone is 0: sysctl -w kernel.unprivileged_userns_clone=1";
    else if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        why = "AppArmor refuses them: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
    snprintf(line, sizeof(line), "failed to %s: %s (%s)", step, strerror(error), why);
    return line;
}

int new_namespaces(int more, bool as_root, const char **step)
{
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int error;
    /* A process that once changed its user may not be looked at, not even by itself. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    *step = "create user namespace";
    if (unshare(CLONE_NEWUSER | more) < 0)
        return errno;
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "%u %u 1", as_root ? 0 : uid, uid);
    if ((error = put("/proc/self/uid_map", map)) != 0)
        return error;
    snprintf(map, sizeof(map), "%u %u 1", as_root ? 0 : gid, gid);
    if ((error = put("/proc/self/gid_map", map)) != 0)
        return error;
    *step = "mount in the user namespace";
    return mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? errno : 0;
}

/* A folder by its number: no sign in its name can be taken for an option of the overlay. */
static int part(const struct container *it, const char *name, char *path, size_t size)
{
    char whole[PATH_SIZE + 16];
    snprintf(whole, sizeof(whole), "%s/%s", it->folder, name);
    int fd = open(whole, O_PATH | O_CLOEXEC);
    snprintf(path, size, "/proc/self/fd/%d", fd);
    return fd;
}

int overlay(const struct container *it)
{
    char lower[64], upper[64], work[64], options[512], root[PATH_SIZE + 16];
    int a = part(it, "lower", lower, sizeof(lower)), b = part(it, "upper", upper, sizeof(upper));
    int c = part(it, "work", work, sizeof(work));
    snprintf(root, sizeof(root), "%s/root", it->folder);
    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s,userxattr", lower, upper, work);
    int error = mount("overlay", root, "overlay", MS_NOSUID | MS_NODEV, options) < 0 ? errno : 0;
    close(a);
    close(b);
    close(c);
    return error;
}

static int sources_exist(void)
{
    struct stat about;
    for (int i = 0; i < asked.mount_count && site.pyxis >= 24; i++)
        if (*asked.mounts[i].source == '/' && stat(asked.mounts[i].source, &about) < 0
            && (errno == ENOENT || errno == ENOTDIR)) {
            slurm_error("pyxis: --container-mounts: source path does not exist: %s", asked.mounts[i].source);
            slurm_error("pyxis: couldn't create enroot start configuration script");
            return -1;
        }
    return 0;
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        ioctl(fd, SIOCSIFFLAGS, &request);
        close(fd);
    }
}

/* The new root becomes the root of this process; the old one is let go. */
static int pivot(const char *root)
{
    if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return start_failed(1, "enroot-switchroot: failed to switch root: %s: %s", root, strerror(errno));
    return 0;
}

int root_enter_new(const struct container *it, const struct job *job)
{
    bool as_root = asked.remap_root == -1 ? site.remap_root : asked.remap_root;
    bool writable = asked.writable == -1 ? site.rootfs_writable : asked.writable;
    char path[PATH_SIZE + 16];
    const char *step = "";
    if (sources_exist() < 0)
        return -1;
    int more = CLONE_NEWNS | (asked.net ? CLONE_NEWNET : 0) | (asked.ipc ? CLONE_NEWIPC : 0)
               | (asked.uts ? CLONE_NEWUTS : 0);
    int error = new_namespaces(more, as_root, &step);
    if (error != 0)
        return start_failed(1, "enroot-nsenter: %s", why_refused(step, error));
    if (asked.net)
        loopback_up();
    snprintf(path, sizeof(path), "%s/root", it->folder);
    if ((error = overlay(it)) != 0)
        return start_failed(1, "enroot-mount: %s", why_refused("mount overlay", error));
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int result = root < 0 ? -1 : mounts_fill(root, path, job, as_root);
    if (result == 0 && !writable
        && mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | mount_locked(path), NULL) < 0)
        result = start_failed(1, "enroot-mount: failed to remount: %s: %s", path, strerror(errno));
    if (root >= 0)
        close(root);
    return result < 0 ? result : pivot(path);
}

int root_join(pid_t other)
{
    const struct { const char *name; int kind; } spaces[] = {
        {"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS}, {"net", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS},
    };
    int fds[5];
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    for (int i = 0; i < 5; i++) {
        char path[64], own[64];
        struct stat a, b;
        snprintf(path, sizeof(path), "/proc/%d/ns/%s", other, spaces[i].name);
        snprintf(own, sizeof(own), "/proc/self/ns/%s", spaces[i].name);
        fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0) {
            slurm_error("pyxis: unable to open %s namespace file: %s", spaces[i].name, strerror(errno));
            return -1;
        }
        if (fstat(fds[i], &a) < 0 || stat(own, &b) < 0 || a.st_ino != b.st_ino)
            continue;
        close(fds[i]);
        fds[i] = -1;
        if (spaces[i].kind == CLONE_NEWUSER || spaces[i].kind == CLONE_NEWNS) {
            /* To go on would be to run on the host. */
            slurm_error("pyxis: the container's %s namespace is the host's", spaces[i].name);
            return -1;
        }
    }
    for (int i = 0; i < 5; i++)
        if (fds[i] >= 0) {
            if (setns(fds[i], spaces[i].kind) < 0) {
                slurm_error("pyxis: couldn't join %s namespace: %s", spaces[i].name, strerror(errno));
                return -1;
            }
            close(fds[i]);
        }
    return 0;
}
