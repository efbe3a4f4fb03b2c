/* One step of all robots of a share, as gymnasium's MuJoCo tasks compute it, to the bit: what is float32 there is float
   here, and sums are added up in numpy's order.

   The physics is MuJoCo's own, called through pointers, so that no header of it is needed and any version will do. The
   structs are mirrored in share.py, which says what the fields mean. */

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

enum { PARTS = 8, MOST = 128 };

typedef struct {
    const double *from;
    int64_t count;
    double low, high;
} Part;

typedef struct {
    const void *model;
    void *data;
    double *ctrl;
    const double *place, *mass;
    Part contacts, seen[PARTS], healthy[PARTS]; /* each list ends with an empty part */
} Robot;

typedef struct {
    void (*step)(const void *, void *), (*forces)(const void *, void *), (**on_error)(const char *);
    const Robot *robots;
    const float *action;
    double *obs, *reward;
    uint8_t *terminated, *truncated;
    const int64_t *length;
    int64_t *cursor;
    int64_t first, count, actions, bodies, substeps, time_limit, wide;
    double dt, mass, forward, alive, control, contact, most_contact;
    char said[512];
} Share;

static _Thread_local jmp_buf out;
static _Thread_local char *said;

/* MuJoCo would end the process where it cannot go on. */
static void give_up(const char *text) {
    strncpy(said, text, sizeof(((Share *)0)->said) - 1);
    longjmp(out, 1);
}

static double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; } /* NaN stays */

static double *copy(const Part *part, double *to) {
    for (int64_t i = 0; i < part->count; i++) *to++ = clip(part->from[i], part->low, part->high);
    return to;
}

/* np.sum(np.square(x)) of at most 128 numbers: eight sums side by side, then those in pairs, then the rest. */
#define SUM_OF_SQUARES(name, number)                                                                       \
    static number name(const number *x, int64_t count) {                                                   \
        number s[8] = {0}, sum;                                                                            \
        int64_t i = 0;                                                                                     \
        for (; i + 8 <= count; i += 8)                                                                     \
            for (int k = 0; k < 8; k++) s[k] += x[i + k] * x[i + k];                                       \
        for (sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); i < count; i++)      \
            sum += x[i] * x[i];                                                                            \
        return sum;                                                                                        \
    }
SUM_OF_SQUARES(squares, double)
SUM_OF_SQUARES(squares_of_floats, float)

/* How far it has come: x of one body, or of the centre of mass of all. */
static double place(const Share *share, const Robot *robot) {
    if (!robot->mass) return *robot->place;
    double sum = 0;
    for (int64_t i = 0; i < share->bodies; i++) sum += robot->mass[i] * robot->place[3 * i];
    return sum / share->mass;
}

static int healthy(const Robot *robot) {
    for (const Part *part = robot->healthy; part->count; part++)
        for (int64_t i = 0; i < part->count; i++)
            if (!(part->low < part->from[i] && part->from[i] < part->high)) return 0;
    return 1;
}

static double control_cost(const Share *share, const Robot *robot, const float *action) {
    if (share->wide) return share->control * squares(robot->ctrl, share->actions);
    return (float)share->control * squares_of_floats(action, share->actions);
}

static double contact_cost(const Share *share, const Part *contacts) {
    double force[MOST];
    copy(contacts, force);
    return clip(share->contact * squares(force, contacts->count), -INFINITY, share->most_contact);
}

/* How many episodes ended; -1 where MuJoCo gave up on the robot of the cursor, and why is in `said`. */
int64_t step(Share *share) {
    void (*before)(const char *) = *share->on_error;
    said = share->said;
    *share->on_error = give_up;
    if (setjmp(out)) {
        *share->on_error = before;
        return -1;
    }
    int64_t ended = 0;
    double *obs = share->obs;
    for (int64_t i = 0; i < share->count; i++) {
        const Robot *robot = &share->robots[i];
        const float *action = share->action + i * share->actions;
        *share->cursor = share->first + i;
        double from = place(share, robot);
        for (int64_t k = 0; k < share->actions; k++) robot->ctrl[k] = action[k];
        for (int64_t k = 0; k < share->substeps; k++) share->step(robot->model, robot->data);
        if (robot->contacts.count) share->forces(robot->model, robot->data);
        for (const Part *part = robot->seen; part->count; part++) obs = copy(part, obs);
        int well = healthy(robot);
        double speed = (place(share, robot) - from) / share->dt;
        double costs = control_cost(share, robot, action) + contact_cost(share, &robot->contacts);
        share->reward[i] = share->forward * speed + (well ? share->alive : 0.0) - costs;
        share->terminated[i] = !well;
        share->truncated[i] = share->length[i] >= share->time_limit;
        ended += share->terminated[i] || share->truncated[i];
    }
    *share->on_error = before;
    return ended;
}
