/* The options of Pyxis: what is taken, what is refused, and what is passed over in silence. */
#define _GNU_SOURCE
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct asked asked = {
    .mount_home = -1, .remap_root = -1, .entrypoint = -1, .entrypoint_log = -1, .writable = -1,
};
struct site site = {.pyxis = 21, .enroot = 40, .sbatch_support = 1};

enum what {
    IMAGE, MOUNTS, WORKDIR, NAME, SAVE, HOME, NO_HOME, ROOT, NO_ROOT, ENTRYPOINT, NO_ENTRYPOINT, ENTRYPOINT_LOG,
    WRITABLE, READONLY, ENV, UNSHARE
};

static int take(int what, const char *value, int remote);

#define HELP(text) "[pyxis] " text " (hpcai's stand-in for Pyxis)"
/* In each row: since which release of Pyxis. */
static const struct row {
    int since;
    const char *variable;
    struct spank_option option;
} rows[] = {
    {0, "IMAGE", {"container-image", "[USER@][REGISTRY#]IMAGE[:TAG]|PATH", HELP("image or path"), 1, IMAGE, take}},
    {0, "MOUNTS", {"container-mounts", "SRC[:DST[:FLAGS]][,...]", HELP("what to mount"), 1, MOUNTS, take}},
    {0, "WORKDIR", {"container-workdir", "PATH", HELP("working directory"), 1, WORKDIR, take}},
    {0, "NAME", {"container-name", "NAME[:FLAG]", HELP("keep under a name"), 1, NAME, take}},
    {0, "SAVE", {"container-save", "PATH", HELP("save as squashfs"), 1, SAVE, take}},
    {0, "MOUNT_HOME", {"container-mount-home", NULL, HELP("mount the home"), 0, HOME, take}},
    {0, NULL, {"no-container-mount-home", NULL, HELP("leave the home out"), 0, NO_HOME, take}},
    {0, "REMAP_ROOT", {"container-remap-root", NULL, HELP("be root inside"), 0, ROOT, take}},
    {0, NULL, {"no-container-remap-root", NULL, HELP("stay oneself inside"), 0, NO_ROOT, take}},
    {0, "ENTRYPOINT", {"container-entrypoint", NULL, HELP("run the entrypoint"), 0, ENTRYPOINT, take}},
    {0, NULL, {"no-container-entrypoint", NULL, HELP("no entrypoint"), 0, NO_ENTRYPOINT, take}},
    {20, "ENTRYPOINT_LOG", {"container-entrypoint-log", NULL, HELP("show its output"), 0, ENTRYPOINT_LOG, take}},
    {0, "WRITABLE", {"container-writable", NULL, HELP("writable root"), 0, WRITABLE, take}},
    {0, "READONLY", {"container-readonly", NULL, HELP("read-only root"), 0, READONLY, take}},
    {0, "ENV", {"container-env", "NAME[,NAME...]", HELP("variables that win over the image's"), 1, ENV, take}},
    {24, "UNSHARE", {"container-unshare", "NS[,NS...]", HELP("net, ipc, uts"), 1, UNSHARE, take}},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int number(const char *text)
{
    int major = 0, minor = 0;
    sscanf(text, "%d.%d", &major, &minor);
    return major * (major ? 10 : 100) + minor;
}

int site_read(int count, char **words)
{
    const struct { const char *word; int *number; char **text; } known[] = {
        {"execute_entrypoint=", &site.execute_entrypoint, NULL}, {"sbatch_support=", &site.sbatch_support, NULL},
        {"rootfs_writable=", &site.rootfs_writable, NULL}, {"mount_home=", &site.mount_home, NULL},
        {"remap_root=", &site.remap_root, NULL}, {"data=", NULL, &site.data},
        {"registry=", NULL, &site.registry}, {"tools=", NULL, &site.tools},
    };
    for (int i = 0; i < count; i++) {
        char *value = strchr(words[i], '=');
        if (value == NULL)
            continue;
        value++;
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
            if (strncmp(words[i], known[k].word, strlen(known[k].word)) == 0) {
                if (known[k].number)
                    *known[k].number = atoi(value);
                else
                    *known[k].text = strdup(value);
            }
        if (strncmp(words[i], "pyxis_version=", 14) == 0)
            site.pyxis = number(value);
        else if (strncmp(words[i], "enroot_version=", 15) == 0)
            site.enroot = number(value);
        else if (strncmp(words[i], "container_scope=", 16) == 0)
            site.scope_job = strcmp(value, "job") == 0;
        else if (strncmp(words[i], "show=", 5) == 0 && site.shown_count < MOST)
            site.shown[site.shown_count++] = strdup(value);
    }
    return 0;
}

int options_register(spank_t spank)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct spank_option option = rows[i].option;
        if (rows[i].since <= site.pyxis && spank_option_register(spank, &option) != ESPANK_SUCCESS) {
            slurm_error("pyxis: couldn't register option %s", option.name);
            return -1;
        }
    }
    return 0;
}

/* Slurm may call with the same value again; only another one is a mistake. */
static int once(char **field, const char *flag, const char *value)
{
    if (*field == NULL)
        *field = strdup(value);
    else if (strcmp(*field, value) != 0) {
        slurm_error("pyxis: --%s specified multiple times", flag);
        return -1;
    }
    return 0;
}

static int either(int *field, int value, const char *yes, const char *no)
{
    if (*field != -1 && *field != value) {
        slurm_error("pyxis: both --%s and --%s were specified", yes, no);
        return -1;
    }
    *field = value;
    return 0;
}

int mount_add(const char *source, const char *target, const char *flags)
{
    const char *first = "x-create=auto,rbind";
    if (strcmp(source, "tmpfs") == 0)
        first = "x-create=dir";
    else if (strcmp(source, "umount") == 0)
        first = "x-detach";
    else if (*source != '/' && *source != '.') {
        slurm_error("pyxis: mount source must be a relative path, an absolute path, \"tmpfs\" or \"umount\"");
        return -1;
    }
    if (*target != '/' && *target != '.') {
        slurm_error("pyxis: mount target must be a relative path or an absolute path");
        return -1;
    }
    struct mount made = {strdup(source), strdup(target), NULL};
    if (asprintf(&made.flags, "%s%s%s", first, flags ? "," : "", flags ? flags : "") < 0)
        return -1;
    for (char *sign = made.flags; *sign; sign++)
        if (*sign == '+')
            *sign = ',';
    for (int i = 0; i < asked.mount_count; i++)
        if (strcmp(asked.mounts[i].source, source) == 0 && strcmp(asked.mounts[i].target, target) == 0
            && strcmp(asked.mounts[i].flags, made.flags) == 0)
            return 0;
    if (asked.mount_count == MOST)
        return -1;
    asked.mounts[asked.mount_count++] = made;
    return 0;
}

static int mounts(const char *value)
{
    char *rest = strdup(value), *one;
    while ((one = strsep(&rest, ",")) != NULL) {
        char *whole = strdup(one), *source = strsep(&one, ":");
        char *target = one ? strsep(&one, ":") : source;
        if (*source == '\0' || *target == '\0') {
            slurm_error("pyxis: --container-mounts: invalid format: %s", whole);
            return -1;
        }
        /* Anything may stand as flags here, and nobody looks at it. */
        if (mount_add(source, target, one && *one ? one : NULL) < 0) {
            slurm_error("pyxis: could not add mount entry: %s:%s", source, target);
            return -1;
        }
    }
    return 0;
}

static int name(const char *value)
{
    if (asked.name != NULL)
        return once(&asked.name, "container-name", value);
    char *flag = strdup(value), *before = strsep(&flag, ":");
    if (*before == '\0') {
        slurm_error("pyxis: --container-name: empty name");
        return -1;
    }
    if (flag == NULL || *flag == '\0')
        flag = "auto";
    if (strcmp(flag, "auto") && strcmp(flag, "create") && strcmp(flag, "exec") && strcmp(flag, "no_exec")) {
        slurm_error("pyxis: --container-name: flag must be \"auto\", \"create\", \"exec\" or \"no_exec\"");
        return -1;
    }
    asked.name = before;
    asked.flag = strdup(flag);
    return 0;
}

static int save(const char *value)
{
    if (site.pyxis >= 21 && value[strlen(value) - 1] == '/') {
        slurm_error("pyxis: --container-save: target is a directory");
        return -1;
    }
    return once(&asked.save, "container-save", value);
}

bool named_in_env(const char *variable)
{
    for (int i = 0; i < asked.env_count; i++)
        if (strcmp(asked.env[i], variable) == 0)
            return true;
    return false;
}

static int env(const char *value)
{
    char *rest = strdup(value), *one;
    while ((one = strsep(&rest, ",")) != NULL) {
        if (*one == '\0') {
            slurm_error("pyxis: --container-env: invalid format: %s", value);
            return -1;
        }
        if (!named_in_env(one) && asked.env_count < MOST)
            asked.env[asked.env_count++] = one;
    }
    return 0;
}

static int unshared(const char *value)
{
    char *rest = strdup(value), *one;
    while ((one = strsep(&rest, ",")) != NULL) {
        if (*one == '\0')
            slurm_error("pyxis: --container-unshare: empty namespace argument");
        else if (strcmp(one, "net") && strcmp(one, "ipc") && strcmp(one, "uts"))
            slurm_error("pyxis: --container-unshare: unknown namespace '%s'", one);
        else {
            *(strcmp(one, "net") == 0 ? &asked.net : strcmp(one, "ipc") == 0 ? &asked.ipc : &asked.uts) = 1;
            continue;
        }
        return -1;
    }
    return 0;
}

static int take(int what, const char *value, int remote)
{
    (void)remote;
    if (rows[what].option.has_arg && (value == NULL || *value == '\0')) {
        slurm_error("pyxis: --%s: argument required", rows[what].option.name);
        return -1;
    }
    switch ((enum what)what) {
    case IMAGE: return once(&asked.image, "container-image", value);
    case MOUNTS: return mounts(value);
    case WORKDIR: return once(&asked.workdir, "container-workdir", value);
    case NAME: return name(value);
    case SAVE: return save(value);
    case HOME:
    case NO_HOME: return either(&asked.mount_home, what == HOME, rows[HOME].option.name, rows[NO_HOME].option.name);
    case ROOT:
    case NO_ROOT: return either(&asked.remap_root, what == ROOT, rows[ROOT].option.name, rows[NO_ROOT].option.name);
    case ENTRYPOINT:
    case NO_ENTRYPOINT:
        return either(&asked.entrypoint, what == ENTRYPOINT, rows[ENTRYPOINT].option.name,
                      rows[NO_ENTRYPOINT].option.name);
    case ENTRYPOINT_LOG: asked.entrypoint_log = 1; return 0;
    case WRITABLE:
    case READONLY:
        return either(&asked.writable, what == WRITABLE, rows[WRITABLE].option.name, rows[READONLY].option.name);
    case ENV: return env(value);
    case UNSHARE: return unshared(value);
    }
    return -1;
}

static bool is_set(enum what what)
{
    switch (what) {
    case IMAGE: return asked.image != NULL;
    case MOUNTS: return asked.mount_count > 0;
    case WORKDIR: return asked.workdir != NULL;
    case NAME: return asked.name != NULL;
    case SAVE: return asked.save != NULL;
    case HOME: return asked.mount_home != -1;
    case ROOT: return asked.remap_root != -1;
    case ENTRYPOINT: return asked.entrypoint != -1;
    case ENTRYPOINT_LOG: return asked.entrypoint_log != -1;
    case WRITABLE:
    case READONLY: return asked.writable != -1;
    case ENV: return asked.env_count > 0;
    case UNSHARE: return asked.net || asked.ipc || asked.uts;
    default: return true;
    }
}

static int yes_or_no(const char *text)
{
    const char *words[] = {"0", "false", "no", "n", "1", "true", "yes", "y"};
    for (int i = 0; i < 8; i++)
        if (strcasecmp(text, words[i]) == 0)
            return i >= 4;
    return -1;
}

/* A flag wins over its variable; a variable that cannot be read is passed over. */
void options_from_environment(spank_t spank)
{
    for (size_t i = 0; i < ROWS; i++) {
        char variable[64], text[PATH_SIZE];
        if (site.pyxis < 21 || rows[i].since > site.pyxis || rows[i].variable == NULL || is_set(i))
            continue;
        snprintf(variable, sizeof(variable), "PYXIS_CONTAINER_%s", rows[i].variable);
        if (spank_remote(spank) == 1) {
            if (spank_getenv(spank, variable, text, sizeof(text)) != ESPANK_SUCCESS)
                continue;
        } else {
            const char *value = getenv(variable);
            if (value == NULL || strlen(value) >= sizeof(text))
                continue;
            strcpy(text, value);
        }
        if (rows[i].option.has_arg) {
            take(i, text, 0);
            continue;
        }
        int on = yes_or_no(text);
        if (on < 0)
            continue;
        switch ((enum what)i) {
        case HOME: asked.mount_home = on; break;
        case ROOT: asked.remap_root = on; break;
        case ENTRYPOINT: asked.entrypoint = on; break;
        case ENTRYPOINT_LOG: asked.entrypoint_log = on; break;
        case WRITABLE: asked.writable = on; break;
        case READONLY: asked.writable = !on; break;
        default: break;
        }
    }
}

/* Without an image and a name, all else is passed over and the step runs on the host. */
bool options_enter_a_container(void)
{
    if (asked.image != NULL || asked.name != NULL)
        return true;
    const struct { bool is; int since; const char *words; } passed[] = {
        {asked.mount_count > 0, 0, "--container-mounts"},
        {asked.workdir != NULL, 0, "--container-workdir"},
        {asked.save != NULL, 21, "--container-save"},
        {asked.mount_home != -1, 0, "--[no-]container-mount-home"},
        {asked.remap_root != -1, 0, "--[no-]container-remap-root"},
        {asked.entrypoint != -1, 0, "--[no-]container-entrypoint"},
        {asked.entrypoint_log != -1, 21, "--container-entrypoint-log"},
        {asked.writable == 0, 21, "--container-readonly"},
        {asked.writable == 1, 21, "--container-writable"},
    };
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        if (passed[i].is && site.pyxis >= passed[i].since)
            slurm_error("pyxis: ignoring %s because neither --container-image nor --container-name is set",
                        passed[i].words);
    return false;
}
