/*
 * The library that `nixvol-net run` puts into a program: what the program's sockets do not bind themselves is bound to
 * the address of a volume, NIXVOL_ADDRESS.
 *
 * macOS has no network namespaces: a program that binds nothing sends from the destination's own address and listens on
 * every address of the Mac. With this in it, before a socket of IPv4 connects, listens or sends it is bound to the
 * volume's address, and a socket that binds 0.0.0.0 gets that address instead; so does an IPv6 socket where it stands for
 * IPv4 too. Addresses that the program chooses itself stay, and so does what it says to 127.0.0.0/8. An address that is
 * not on this machine is an error of the call (EADDRNOTAVAIL), never the Mac's own address instead.
 *
 * Sees: the calls of the C library. Never: a packet, a name, or a system call that a program makes by itself.
 */
#ifndef __APPLE__
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifdef __APPLE__
/* dyld puts `own` in the place of `name` in every image but this one, in which `name` is the system's. */
#define REPLACES(name)                                                                                                \
	__attribute__((used, section("__DATA,__interpose"))) static const struct {                                     \
		const void *own, *system;                                                                                  \
	} replaces_##name = {(const void *)own_##name, (const void *)name}
#define DEFINE(result, name, ...) static result own_##name(__VA_ARGS__)
#define SYSTEM(name) name
#else
#include <dlfcn.h>
/* The dynamic linker takes the first `name` that it finds, and this library comes first. */
#define REPLACES(name) struct replaces_##name
#define DEFINE(result, name, ...)                                                                                     \
	__attribute__((visibility("default"))) result own_##name(__VA_ARGS__) __asm__(#name);                          \
	result own_##name(__VA_ARGS__)
#define SYSTEM(name) ((__typeof__(&own_##name))next(#name))

static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	if (found == NULL)
		abort(); /* A C library without it cannot have been called. */
	return found;
}
#endif

/* The volume's address; false where nobody gave one. Threads that ask at once come to the same answer. */
static int volume(struct in_addr *address)
{
	static atomic_int known; /* 0: not yet, 1: an address, 2: none */
	static atomic_uint value;
	int state = atomic_load(&known);
	if (state == 0) {
		const char *given = getenv("NIXVOL_ADDRESS");
		struct in_addr parsed = {0};
		state = given != NULL && inet_pton(AF_INET, given, &parsed) == 1 && parsed.s_addr != 0 ? 1 : 2;
		atomic_store(&value, parsed.s_addr);
		atomic_store(&known, state);
	}
	address->s_addr = atomic_load(&value);
	return state == 1;
}

static int is_loopback(struct in_addr address)
{
	return ntohl(address.s_addr) >> 24 == 127;
}

/* Whether an IPv6 socket takes IPv4 too. */
static int is_dual(int fd)
{
	int only = 0;
	socklen_t length = sizeof only;
	return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &length) == 0 && only == 0;
}

/* An address of IPv4 inside an IPv6 socket. */
static struct in6_addr mapped(struct in_addr address)
{
	struct in6_addr inside = {0};
	inside.s6_addr[10] = inside.s6_addr[11] = 0xff;
	memcpy(&inside.s6_addr[12], &address, sizeof address);
	return inside;
}

/* An address as the system takes it, and its length. */
struct place {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_storage storage;
	} at;
	socklen_t length;
};

/* Puts the volume's address in the place of none. False where there is one, or IPv4 cannot come into this socket. */
static int claim(int fd, struct place *place)
{
	struct in_addr own;
	if (!volume(&own))
		return 0;
	if (place->at.any.sa_family == AF_INET && place->length >= sizeof place->at.v4) {
		if (place->at.v4.sin_addr.s_addr != htonl(INADDR_ANY))
			return 0;
		place->at.v4.sin_addr = own;
		return 1;
	}
	if (place->at.any.sa_family == AF_INET6 && place->length >= sizeof place->at.v6) {
		if (!IN6_IS_ADDR_UNSPECIFIED(&place->at.v6.sin6_addr) || !is_dual(fd))
			return 0;
		place->at.v6.sin6_addr = mapped(own);
		return 1;
	}
	return 0;
}

DEFINE(int, bind, int fd, const struct sockaddr *to, socklen_t length)
{
	struct place place;
	if (to == NULL || length > sizeof place.at || length < sizeof place.at.any)
		return SYSTEM(bind)(fd, to, length);
	memset(&place, 0, sizeof place);
	memcpy(&place.at, to, length);
	place.length = length;
	return claim(fd, &place) ? SYSTEM(bind)(fd, &place.at.any, length) : SYSTEM(bind)(fd, to, length);
}

/* Binds a socket that is bound to nothing. 0, or -1 with the reason that the volume's address cannot be had. */
static int settle(int fd)
{
	int before = errno;
	struct place place;
	memset(&place, 0, sizeof place);
	place.length = sizeof place.at;
	if (getsockname(fd, &place.at.any, &place.length) != 0) {
		errno = before; /* Not a socket: the call itself says so. */
		return 0;
	}
	/* The port has the same place in both. One that is bound to a port of every address came so into this program. */
	if (place.at.v4.sin_port != 0 || !claim(fd, &place)) {
		errno = before;
		return 0;
	}
#ifdef IP_BIND_ADDRESS_NO_PORT
	/* The port is chosen when it connects, so that as many connections as ever leave one address. */
	int late = 1;
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
#endif
	/* EINVAL: another thread has bound or connected it since. */
	if (SYSTEM(bind)(fd, &place.at.any, place.length) != 0 && errno != EINVAL)
		return -1;
	errno = before;
	return 0;
}

/* Whether packets to an address are IPv4 that leaves the program's own machine as a volume would see it. */
static int leaves(const struct sockaddr *to, socklen_t length)
{
	struct in_addr address;
	if (to == NULL)
		return 0;
	if (to->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
		memcpy(&address, &((const struct sockaddr_in *)to)->sin_addr, sizeof address);
	} else if (to->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
		struct in6_addr inside;
		memcpy(&inside, &((const struct sockaddr_in6 *)to)->sin6_addr, sizeof inside);
		if (!IN6_IS_ADDR_V4MAPPED(&inside))
			return 0;
		memcpy(&address, &inside.s6_addr[12], sizeof address);
	} else {
		return 0;
	}
	/* 0.0.0.0 as a destination is this machine. */
	return address.s_addr != htonl(INADDR_ANY) && !is_loopback(address);
}

/* The same of a datagram, whose socket may send to others next: its address is settled by the first. */
static int is_ours(const struct sockaddr *to)
{
	return to != NULL && (to->sa_family == AF_INET || to->sa_family == AF_INET6);
}

DEFINE(int, connect, int fd, const struct sockaddr *to, socklen_t length)
{
	if (leaves(to, length) && settle(fd) != 0)
		return -1;
	return SYSTEM(connect)(fd, to, length);
}

DEFINE(int, listen, int fd, int backlog)
{
	if (settle(fd) != 0)
		return -1;
	return SYSTEM(listen)(fd, backlog);
}

DEFINE(ssize_t, sendto, int fd, const void *bytes, size_t count, int flags, const struct sockaddr *to, socklen_t length)
{
	if (is_ours(to) && settle(fd) != 0)
		return -1;
	return SYSTEM(sendto)(fd, bytes, count, flags, to, length);
}

DEFINE(ssize_t, sendmsg, int fd, const struct msghdr *message, int flags)
{
	if (message != NULL && is_ours(message->msg_name) && settle(fd) != 0)
		return -1;
	return SYSTEM(sendmsg)(fd, message, flags);
}

REPLACES(bind);
REPLACES(connect);
REPLACES(listen);
REPLACES(sendto);
REPLACES(sendmsg);

#ifdef __APPLE__
DEFINE(int, connectx, int fd, const sa_endpoints_t *ends, sae_associd_t association, unsigned int flags,
	const struct iovec *bytes, unsigned int count, size_t *sent, sae_connid_t *connection)
{
	if (ends != NULL && ends->sae_srcaddr == NULL && leaves(ends->sae_dstaddr, ends->sae_dstaddrlen) &&
		settle(fd) != 0)
		return -1;
	return connectx(fd, ends, association, flags, bytes, count, sent, connection);
}
REPLACES(connectx);
#else
DEFINE(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	if (messages != NULL && count > 0 && is_ours(messages[0].msg_hdr.msg_name) && settle(fd) != 0)
		return -1;
	return SYSTEM(sendmmsg)(fd, messages, count, flags);
}
REPLACES(sendmmsg);
#endif
