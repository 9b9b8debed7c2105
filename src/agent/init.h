/* Being a guest's first process: mounts, modules, reaping, power. */
#ifndef VMCTL_AGENT_INIT_H
#define VMCTL_AGENT_INIT_H

/* Mounts /dev, /proc and /sys, opens the console and loads the modules that /etc/vmctl/modules names. Reports failures on the console,
 * here and below. */
void vmctl_init_begin(void);

/* Loads the modules whose paths a file lists, one a line; a missing file lists none. One with a tab and a number behind its path is for
 * a virtio device of that number (0: for none): it is left out where the machine has no such device and no PCI bus, thus never will. */
void vmctl_init_load(const char *list);

/* Mounts the other file systems of the agent's guest, and makes the environment of its commands. */
void vmctl_init_setup(void);

/* The main loop of PID 1: reaps orphans, powers the machine off when the agent (pid) ends or a signal asks for
 * it, as busybox' tools do (USR1 halt, USR2 power off, TERM reboot). Never returns. */
void vmctl_init_stay(int agent);

/* Ends the machine's run at once: file systems synced, then 'o' power off, 'h' halt, 'r' reboot. */
void vmctl_init_power(char how);

#endif
