# SPDX-License-Identifier: MIT
"""The programs of an Android 5: the public list of its toolbox, and its shell's own commands.

There is no uname, printf, head, cut, tr, test or stat: toybox came with Android 6.
"""

from __future__ import annotations

SHELLS_OWN = ("echo", "exec", "exit", "export", "cd", "print", "sh")
TOOLBOX = (
    *("cat", "chown", "cp", "dd", "du", "grep", "kill", "ln", "mv", "printenv", "rm", "rmdir"),
    *("sleep", "sync", "chcon", "chmod", "clear", "cmp", "date", "df", "dmesg", "getenforce"),
    *("getevent", "getprop", "getsebool", "hd", "id", "ifconfig", "iftop", "insmod", "ioctl"),
    *("ionice", "load_policy", "log", "ls", "lsmod", "lsof", "md5", "mkdir", "mknod", "mkswap"),
    *("mount", "nandread", "netstat", "newfs_msdos", "nohup", "notify", "ps", "readlink", "renice"),
    *("restorecon", "rmmod", "route", "runcon", "schedtop", "sendevent", "setenforce", "setprop"),
    *("setsebool", "smd", "start", "stop", "swapoff", "swapon", "top", "touch", "umount", "uptime"),
    *("vmstat", "watchprops", "wipe"),
)
