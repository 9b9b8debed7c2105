/* Being a guest's first process: mounts, modules, reaping, power. */
#ifndef VMCTL_AGENT_INIT_H
#define VMCTL_AGENT_INIT_H

/* Mounts /dev, /proc and /sys, opens the console and loads the modules that /etc/vmctl/modules names. Says on the console what
 * fails, here and below. */
void vmctl_init_begin(void);

/* Loads the modules whose paths a file has, one a line; where there is no such file, none. */
void vmctl_init_load(const char *list);

/* Mounts what else the agent's guest has, and makes the environment that its commands get. */
void vmctl_init_setup(void);

/* Stays behind as PID 1: reaps everybody's orphans, powers the machine off when the agent (pid) ends or a signal asks for
 * it, as busybox' tools do (USR1 halt, USR2 power off, TERM reboot). Never returns. */
void vmctl_init_stay(int agent);

/* Ends the machine's run at once: file systems synced, then 'o' power off, 'h' halt, 'r' reboot. */
void vmctl_init_power(char how);

#endif
