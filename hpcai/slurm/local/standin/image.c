/* A container's files on this node: images unpacked once, a folder per container, saving and removing. */
#define _GNU_SOURCE
#include "standin.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char log_lines[64][512];
static int log_count;

void told(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (log_count < 64)
        vsnprintf(log_lines[log_count++], sizeof(log_lines[0]), format, list);
    va_end(list);
}

void told_file(int fd)
{
    FILE *file = fdopen(dup(fd), "r");
    char line[512];
    lseek(fd, 0, SEEK_SET);
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        told("%s", line);
    }
    if (file != NULL)
        fclose(file);
}

static void print_log(void)
{
    slurm_error("pyxis: printing enroot log file:");
    for (int i = 0; i < log_count; i++)
        slurm_error("pyxis:     %s", log_lines[i]);
    log_count = 0;
}

void told_done(bool show)
{
    for (int i = 0; show && i < log_count; i++)
        slurm_spank_log("%s", log_lines[i]);
    log_count = 0;
}

int start_failed(int status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (*format && log_count < 64)
        vsnprintf(log_lines[log_count++], sizeof(log_lines[0]), format, list);
    va_end(list);
    slurm_error("pyxis: container start failed with error code: %d", status);
    if (asked.entrypoint == 1 || (asked.entrypoint == -1 && site.execute_entrypoint))
        slurm_error("pyxis: if the image has an unusual entrypoint, try using --no-container-entrypoint");
    print_log();
    return -1;
}

static void make_folders(const char *path)
{
    char part[PATH_SIZE];
    snprintf(part, sizeof(part), "%s", path);
    for (char *at = part + 1; *at; at++)
        if (*at == '/') {
            *at = '\0';
            mkdir(part, 0700);
            *at = '/';
        }
    mkdir(part, 0700);
}

/* Runs a program; what it prints is told when it fails. */
static int run(const char *const argv[])
{
    int log = memfd_create("log", MFD_CLOEXEC), status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(log, 1);
        dup2(log, 2);
        execvp(argv[0], (char *const *)argv);
        dprintf(2, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    if (pid > 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    if (status != 0)
        told_file(log);
    close(log);
    return status == 0 ? 0 : -1;
}

static void node_folder(char *path, size_t size, const char *node)
{
    const char *mark = strstr(site.data, "%n");
    if (mark == NULL)
        snprintf(path, size, "%s", site.data);
    else
        snprintf(path, size, "%.*s%s%s", (int)(mark - site.data), site.data, node, mark + 2);
}

static unsigned long long begun(pid_t pid)
{
    char path[64], text[1024];
    unsigned long long ticks = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    char *at = strrchr(text, ')');
    if (at == NULL || at[2] == 'Z')
        return 0;
    sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks);
    return ticks;
}

int container_open_running(const struct container *it)
{
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof(path), "%s/running", it->folder);
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

void container_mark_running(int running)
{
    if (running >= 0) {
        dprintf(running, "%d %llu\n", getpid(), begun(getpid()));
        close(running);
    }
}

static pid_t running(const struct container *it)
{
    char path[PATH_SIZE + 16];
    int pid;
    unsigned long long ticks;
    pid_t found = 0;
    snprintf(path, sizeof(path), "%s/running", it->folder);
    FILE *file = fopen(path, "re");
    while (file != NULL && found == 0 && fscanf(file, "%d %llu", &pid, &ticks) == 2)
        if (begun(pid) == ticks && ticks != 0 && pid != getpid())
            found = pid;
    if (file != NULL)
        fclose(file);
    return found;
}

int container_find(struct container *it, const char *node, unsigned job, unsigned step)
{
    char folder[PATH_SIZE], scope[32] = "";
    if (site.scope_job)
        snprintf(scope, sizeof(scope), "%u_", job);
    if (asked.name != NULL)
        snprintf(it->name, sizeof(it->name), "pyxis_%s%s", scope, asked.name);
    else
        snprintf(it->name, sizeof(it->name), "pyxis_%s%u.%u", scope, job, step);
    it->lasts = asked.name != NULL;
    node_folder(folder, sizeof(folder), node);
    if (snprintf(it->folder, sizeof(it->folder), "%s/%s", folder, it->name) >= (int)sizeof(it->folder))
        return -1;
    /* A name that no folder can have is found out when it is made. */
    it->exists = strchr(it->name, '/') == NULL && access(it->folder, F_OK) == 0;
    it->running = it->exists ? running(it) : 0;
    if (asked.name == NULL)
        return 0;
    if (strcmp(asked.flag, "create") == 0 && it->exists)
        slurm_error("pyxis: error: \"create\" flag was passed to --container-name but the container already exists");
    else if (strcmp(asked.flag, "exec") == 0 && it->running == 0)
        slurm_error("pyxis: error: \"exec\" flag was passed to --container-name but the container is not running");
    else if (!it->exists && asked.image == NULL)
        slurm_error("pyxis: error: a container with name \"%s\" does not exist, and --container-image is not set",
                    it->name);
    else {
        if (strcmp(asked.flag, "no_exec") == 0)
            it->running = 0;
        return 0;
    }
    return -1;
}

/* The folder of an image file, unpacked the first time on this node. */
static int unpacked(const char *file, const char *node_data, char *root, size_t size)
{
    struct stat about;
    char magic[4] = "", tool[PATH_SIZE], lock[PATH_SIZE], draft[PATH_SIZE];
    if (stat(file, &about) < 0) {
        told("[ERROR] No such file or directory: %s", file);
        return -1;
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, magic, 4) < 0)
        magic[0] = '\0';
    if (fd >= 0)
        close(fd);
    if (!S_ISREG(about.st_mode) || memcmp(magic, "hsqs", 4) != 0) {
        told("[ERROR] Invalid image format: %s", file);
        return -1;
    }
    snprintf(root, size, "%s/images", node_data);
    make_folders(root);
    snprintf(root, size, "%s/images/%lx-%lx-%lx.%lx-%lx", node_data, (long)about.st_dev, (long)about.st_ino,
             (long)about.st_mtim.tv_sec, (long)about.st_mtim.tv_nsec, (long)about.st_size);
    snprintf(lock, sizeof(lock), "%s.lock", root);
    snprintf(draft, sizeof(draft), "%s.new", root);
    snprintf(tool, sizeof(tool), "%s/unsquashfs", site.tools);
    int held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600), result = 0;
    flock(held, LOCK_EX);
    if (access(root, F_OK) != 0) {
        struct container left = {.folder = ""};
        snprintf(left.folder, sizeof(left.folder), "%s", draft);
        container_remove(&left);
        result = run((const char *const[]){tool, "-no-progress", "-quiet", "-no-xattrs", "-d", draft, file, NULL});
        if (result == 0)
            result = rename(draft, root);
    }
    close(held);
    return result;
}

/* The registry's folder for this machine, as no registry can be reached: HOST/IMAGE:TAG.sqsh or a folder. */
static int pulled(const char *reference, char *path, size_t size)
{
    char whole[PATH_SIZE], host[PATH_SIZE] = "registry-1.docker.io";
    if (strncmp(reference, "dockerd://", 10) == 0) {
        told("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.");
        return -1;
    }
    snprintf(whole, sizeof(whole), "%s", strncmp(reference, "docker://", 9) == 0 ? reference + 9 : reference);
    char *image = whole, *sign = strchr(whole, '#'), *slash = strchr(whole, '/');
    if (sign == NULL && slash != NULL && site.enroot >= 40 && strcspn(whole, ".:") < (size_t)(slash - whole))
        sign = slash;
    if (sign != NULL) {
        *sign = '\0';
        char *at = strrchr(whole, '@');
        snprintf(host, sizeof(host), "%s", at ? at + 1 : whole);
        image = sign + 1;
    }
    for (char *at = image; *at && *at != ':' && *at != '@'; at++)
        if (isupper((unsigned char)*at)) {
            told("[ERROR] Invalid image reference: docker://%s", reference);
            return -1;
        }
    const char *library = sign == NULL && strchr(image, '/') == NULL ? "library/" : "";
    const char *tag = strpbrk(image, ":@") ? "" : ":latest";
    char folder[PATH_SIZE];
    snprintf(folder, sizeof(folder), "%s/%s", site.registry ? site.registry : "", host);
    told("[INFO] Querying registry for permission grant");
    if (access(folder, F_OK) != 0) {
        told("curl: (6) Could not resolve host: %s", host);
        return -1;
    }
    for (int end = 0; end < 2; end++) {
        snprintf(path, size, "%s/%s%s%s%s", folder, library, image, tag, end ? "" : ".sqsh");
        if (access(path, F_OK) == 0)
            return 0;
    }
    char *colon = strrchr(image, ':');
    told("[ERROR] URL https://%s/v2/%s%.*s/manifests/%s returned error code: 404 Not Found", host, library,
         colon ? (int)(colon - image) : (int)strlen(image), image, colon ? colon + 1 : "latest");
    return -1;
}

static int lower_of(const char *node_data, char *lower, size_t size, bool tell)
{
    char path[PATH_SIZE], real[PATH_SIZE];
    bool is_path = *asked.image == '/' || *asked.image == '.';
    const char *what = is_path ? "create container filesystem for" : "import docker";
    snprintf(path, sizeof(path), "%s", asked.image);
    if (!is_path && tell)
        slurm_spank_log("pyxis: importing docker image: %s", asked.image);
    bool found = is_path || pulled(asked.image, path, sizeof(path)) == 0;
    struct stat about;
    if (found && stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        /* Enroot takes no folder for an image: here it saves the packing. */
        if (realpath(path, real) != NULL)
            snprintf(lower, size, "%s", real);
    } else if (!found || unpacked(realpath(path, real) ? real : path, node_data, lower, size) < 0) {
        if (is_path)
            slurm_error("pyxis: failed to %s image: %s", what, asked.image);
        else
            slurm_error("pyxis: failed to import docker image: %s", asked.image);
        print_log();
        return -1;
    }
    log_count = 0;
    if (!is_path)
        slurm_spank_log("pyxis: imported docker image: %s", asked.image);
    return 0;
}

int container_create(struct container *it, const char *node, bool tell)
{
    char lower[PATH_SIZE], path[PATH_SIZE + 16], folder[PATH_SIZE];
    node_folder(folder, sizeof(folder), node);
    make_folders(folder);
    if (it->exists && it->lasts)
        return 0;
    /* Left by an attempt whose node was lost: a requeued job has the same number. */
    if (it->exists)
        container_remove(it);
    if (strchr(it->name, '/') != NULL) {
        told("[ERROR] Invalid argument: %s", it->name);
        slurm_error("pyxis: failed to create container filesystem for image: %s", asked.image);
        print_log();
        return -1;
    }
    if (lower_of(folder, lower, sizeof(lower), tell) < 0)
        return -1;
    const char *parts[] = {"", "/upper", "/work", "/root"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s%s", it->folder, parts[i]);
        if (mkdir(path, i ? 0755 : 0700) < 0 && errno != EEXIST) {
            slurm_error("pyxis: couldn't mkdir %s: %s", path, strerror(errno));
            return -1;
        }
    }
    snprintf(path, sizeof(path), "%s/lower", it->folder);
    return symlink(lower, path) < 0 && errno != EEXIST ? -1 : 0;
}

int container_save(const struct container *it, const char *folder)
{
    char target[PATH_SIZE], tool[PATH_SIZE], root[PATH_SIZE + 16];
    const char *step = "";
    int status = -1;
    if (*asked.save == '/')
        snprintf(target, sizeof(target), "%s", asked.save);
    else
        snprintf(target, sizeof(target), "%s/%s", folder, asked.save);
    snprintf(tool, sizeof(tool), "%s/mksquashfs", site.tools);
    snprintf(root, sizeof(root), "%s/root", it->folder);
    pid_t pid = fork();
    if (pid == 0) {
        if (new_namespaces(CLONE_NEWNS, true, &step) != 0 || overlay(it) != 0)
            _exit(1);
        int done = run((const char *const[]){tool, root, target, "-noappend", "-no-progress", "-quiet", "-noI",
                                             "-noD", "-noF", "-noX", "-no-duplicates", NULL});
        if (done != 0)
            print_log();
        _exit(done != 0);
    }
    if (pid > 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    if (status == 0)
        slurm_spank_log("pyxis: exported container %s to %s", it->name, asked.save);
    else
        slurm_error("pyxis: failed to export container %s to %s", it->name, asked.save);
    return status == 0 ? 0 : -1;
}

static int take_away(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)where;
    return kind == FTW_DP || kind == FTW_DNR ? rmdir(path) : unlink(path);
}

static int open_up(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)where;
    /* The work folder of an overlay is closed even to its owner. */
    if ((kind == FTW_D || kind == FTW_DNR) && (about->st_mode & 0700) != 0700)
        chmod(path, 0700);
    return 0;
}

void container_remove(const struct container *it)
{
    nftw(it->folder, open_up, 16, FTW_PHYS);
    nftw(it->folder, take_away, 16, FTW_PHYS | FTW_DEPTH);
}
