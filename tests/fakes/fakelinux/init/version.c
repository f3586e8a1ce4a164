// SPDX-License-Identifier: GPL-2.0-only
const char linux_banner[] = "Linux version " RELEASE " (goldfish-oom@goldfish-oom)";
