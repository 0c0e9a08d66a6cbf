;; What a core module finds behind WASI's first preview: nothing, as in the gateway, but here it takes no import.
;;
;; Each answer is made on the spot and keeps nothing in memory, so that it can be asked at any time, even while the gateway
;; hands over what it asks and imports are forbidden: Go's collector reads the clock then. Files, sockets and the like are
;; answered 8, "bad descriptor". The clock stands still, and moves on for whoever waits. Random bytes are the same in every
;; instance, as a policy must be. What is printed goes to the gateway's log.
(module
  (import "env" "memory" (memory 0))
  (import "gauntlet:policy/log@1.0.0" "write" (func $log (param i32 i32 i32)))
  (global $now (mut i64) (i64.const 1000000000))

  (func $two_zeros (param $a i32) (param $b i32) (result i32)
    (i32.store (local.get $a) (i32.const 0))
    (i32.store (local.get $b) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $two_zeros))
  (export "environ_sizes_get" (func $two_zeros))
  (func $none (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $none))
  (export "environ_get" (func $none))
  (export "fd_fdstat_set_flags" (func $none))
  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "fd_close") (param i32) (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable)

  (func (export "clock_time_get") (param i32 i64) (param $at i32) (result i32)
    (i64.store (local.get $at) (global.get $now))
    (i32.const 0))

  ;; Of each 48 bytes that say what is waited for, 32 that say it is over; the nanoseconds are at 24, and at 40 whether they
  ;; are a point in time.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $done i32) (result i32)
    (local $time i64)
    (i32.store (local.get $done) (local.get $count))
    (loop $next
      (if (local.get $count)
        (then
          (memory.fill (local.get $out) (i32.const 0) (i32.const 32))
          (i64.store (local.get $out) (i64.load (local.get $in)))
          (i32.store8 offset=10 (local.get $out) (i32.load8_u offset=8 (local.get $in)))
          (if (i32.eqz (i32.load8_u offset=8 (local.get $in)))
            (then
              (local.set $time (i64.load offset=24 (local.get $in)))
              (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $in)) (i32.const 1)))
                (then (local.set $time (i64.add (local.get $time) (global.get $now)))))
              (if (i64.gt_u (local.get $time) (global.get $now))
                (then (global.set $now (local.get $time))))))
          (local.set $in (i32.add (local.get $in) (i32.const 48)))
          (local.set $out (i32.add (local.get $out) (i32.const 32)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (i32.const 0))

  (func (export "random_get") (param $at i32) (param $size i32) (result i32)
    (local $state i32)
    (local.set $state (i32.const 0x2545f491))
    (loop $next
      (if (local.get $size)
        (then
          (local.set $state (i32.add (i32.mul (local.get $state) (i32.const 1664525)) (i32.const 1013904223)))
          (i32.store8 (local.get $at) (i32.shr_u (local.get $state) (i32.const 24)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $size (i32.sub (local.get $size) (i32.const 1)))
          (br $next))))
    (i32.const 0))

  ;; The standard streams are character devices.
  (func (export "fd_fdstat_get") (param $fd i32) (param $at i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (memory.fill (local.get $at) (i32.const 0) (i32.const 24))
    (i32.store8 (local.get $at) (i32.const 2))
    (i32.const 0))

  (func (export "fd_read") (param i32 i32 i32) (param $done i32) (result i32)
    (i32.store (local.get $done) (i32.const 0))
    (i32.const 0))

  ;; Each piece is a line; one that is nothing but the end of a line is none. Errors are told as such.
  (func (export "fd_write") (param $fd i32) (param $piece i32) (param $count i32) (param $done i32) (result i32)
    (local $size i32) (local $all i32)
    (loop $next
      (if (local.get $count)
        (then
          (local.set $size (i32.load offset=4 (local.get $piece)))
          (local.set $all (i32.add (local.get $all) (local.get $size)))
          (if (local.get $size)
            (then
              (if (i32.eq (i32.const 10) (i32.load8_u (i32.sub (i32.add (i32.load (local.get $piece)) (local.get $size)) (i32.const 1))))
                (then (local.set $size (i32.sub (local.get $size) (i32.const 1)))))))
          (if (local.get $size)
            (then
              (call $log
                (select (i32.const 3) (i32.const 1) (i32.eq (local.get $fd) (i32.const 2)))
                (i32.load (local.get $piece)) (local.get $size))))
          (local.set $piece (i32.add (local.get $piece) (i32.const 8)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (i32.store (local.get $done) (local.get $all))
    (i32.const 0))

  (func (export "clock_res_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "proc_raise") (param i32) (result i32) (i32.const 8))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8)))
