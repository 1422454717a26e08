// Functions compiled once for each instruction set; the loader picks the best that the machine has.
#ifndef CTC_CLONES_H_
#define CTC_CLONES_H_

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CTC_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CTC_CLONES
#endif

#endif  // CTC_CLONES_H_
