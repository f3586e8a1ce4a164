/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_CTYPE_H
#define _LINUX_CTYPE_H

extern const unsigned char _ctype[];
#define isalnum(c) ((_ctype[(int)(unsigned char)(c)] & 7) != 0)
#define isascii(c) (((unsigned char)(c)) <= 0x7f)
#define isprint(c) ((_ctype[(int)(unsigned char)(c)] & 0x97) != 0)

#endif
